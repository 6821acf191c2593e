// FunLess for C: what a function is given, and what it may call.
#ifndef FUNLESS_H
#define FUNLESS_H

#include <stddef.h>
#include <stdint.h>

// The function, which main.c has. Takes the arguments and returns the result: JSON, as text from malloc. After
// fl_fail it returns NULL.
char *fl_main(const char *arguments);

// Fails the invocation: its caller gets the message. Returns NULL.
char *fl_fail(const char *message);

// Writes a line to the function's log. The format is that of printf.
void fl_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum fl_method { FL_GET, FL_POST, FL_PUT, FL_DELETE, FL_PATCH, FL_HEAD, FL_OPTIONS };

struct fl_response {
    uint16_t status; // 0: there is no response, and the log says why
    size_t length;
    char *body; // ends with a zero, which is not counted
};

// Sends an HTTP request. The headers are lines such as "Accept:text/plain", without a line break at the end.
struct fl_response fl_http(enum fl_method method, const char *url, const char *headers, const void *body,
                           size_t length);

// The text of a member of a JSON object; NULL if it is no text or not there.
char *json_text(const char *object, const char *key);

// The text as JSON, in quotes.
char *json_quote(const char *text);

// Text as printf would print it.
char *fl_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
