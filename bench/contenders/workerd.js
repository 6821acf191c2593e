// The functions of `bench -- compare` for workerd: what comes in and goes out is the same as elsewhere.
const functions = {
  hello: ({ name }) => ({ payload: `Hello ${name}!` }),
  echo: (args) => args,
};

export default {
  async fetch(request) {
    const name = new URL(request.url).pathname.slice(1);
    const { args } = await request.json();
    return Response.json({ data: functions[name](args) });
  },
};
