// Greets people: {"name":"Ada"} gives {"payload":"Hello Ada!"}. With a url, the result has the status that it responds
// with.
export default async function hello({ name, url }) {
  if (!name) {
    throw new Error('"name" is missing');
  }
  console.log(`greeting ${name}`);
  const greeting = { payload: `Hello ${name}!` };
  if (url) {
    const response = await fetch(url);
    greeting.status = response.status;
  }
  return greeting;
}
