// Greets people: {"name":"Ada"} gives {"payload":"Hello Ada!"}. With a url, the result has the status that it responds
// with.
import { JSON } from "json-as";
import { fail, http, input, log, Method, respond } from "./funless";

@json
class Arguments {
  name: string = "";
  url: string = "";
}

@json
class Greeting {
  payload: string = "";
  @omitif((self: Greeting) => self.status == 0)
  status: u16 = 0;
}

function hello(args: Arguments): Greeting {
  const greeting = new Greeting();
  if (args.name == "") {
    fail('"name" is missing');
    return greeting;
  }
  log("greeting " + args.name);
  greeting.payload = "Hello " + args.name + "!";
  if (args.url != "") {
    const response = http(Method.GET, args.url);
    if (response === null) fail("no response from " + args.url + "; the log says why");
    else greeting.status = response.status;
  }
  return greeting;
}

export function __invoke(length: i32): i32 {
  return respond(JSON.stringify(hello(JSON.parse<Arguments>(input(length)))));
}
