// Greets people: {"name":"Ada"} gives {"payload":"Hello Ada!"}. With a url, the result has the status that it responds
// with.
#include "funless.h"

char *fl_main(const char *arguments) {
    const char *name = json_text(arguments, "name");
    const char *url = json_text(arguments, "url");
    if (!name || !*name) return fl_fail("\"name\" is missing");
    fl_log("greeting %s", name);
    char *payload = json_quote(fl_format("Hello %s!", name));
    if (!url) return fl_format("{\"payload\":%s}", payload);
    struct fl_response response = fl_http(FL_GET, url, "", NULL, 0);
    if (!response.status) return fl_fail(fl_format("no response from %s; the log says why", url));
    return fl_format("{\"payload\":%s,\"status\":%d}", payload, response.status);
}
