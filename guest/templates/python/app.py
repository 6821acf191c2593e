"""Greets people: {"name": "Ada"} gives {"payload": "Hello Ada!"}. With a url, the result has the status that it
responds with."""

import funless


def hello(args):
    name = args.get("name")
    if not name:
        raise funless.Error('"name" is missing')
    print(f"greeting {name}")
    greeting = {"payload": f"Hello {name}!"}
    if "url" in args:
        response = funless.request("GET", args["url"])
        greeting["status"] = response.status
    return greeting


IncomingHandler = funless.handler(hello)
