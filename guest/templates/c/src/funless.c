#include "funless.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST(name) __attribute__((import_module("fl_imps"), import_name(name)))

HOST("__get_input_data") void host_get_input_data(char *to);
HOST("__insert_response") void host_insert_response(const char *from, size_t length);
HOST("__insert_error") void host_insert_error(const char *from, size_t length);
HOST("__console_log") void host_console_log(const char *from, size_t length);
HOST("__http_send")
int32_t host_http_send(uint16_t *status, int32_t method, const char *url, size_t url_length, const char *headers,
                       size_t headers_length, const void *body, size_t body_length);
HOST("__http_read") int32_t host_http_read(char *to, size_t length);

// An instance runs once: what it allocates is never freed.
static void *allocate(size_t length) {
    void *memory = malloc(length);
    if (!memory) abort();
    return memory;
}

__attribute__((export_name("__invoke"))) int32_t fl_invoke(int32_t input_length) {
    char *input = allocate((size_t)input_length + 1);
    host_get_input_data(input);
    input[input_length] = 0;
    char *result = fl_main(input);
    if (!result) return 1;
    host_insert_response(result, strlen(result));
    return 0;
}

char *fl_fail(const char *message) {
    host_insert_error(message, strlen(message));
    return NULL;
}

static char *format_list(const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length < 0) abort();
    char *text = allocate((size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

char *fl_format(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = format_list(format, arguments);
    va_end(arguments);
    return text;
}

void fl_log(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = format_list(format, arguments);
    va_end(arguments);
    host_console_log(text, strlen(text));
}

struct fl_response fl_http(enum fl_method method, const char *url, const char *headers, const void *body,
                           size_t length) {
    struct fl_response response = {0};
    int32_t received =
        host_http_send(&response.status, method, url, strlen(url), headers, strlen(headers), body, length);
    if (received < 0) return (struct fl_response){0};
    response.body = allocate((size_t)received + 1);
    response.length = (size_t)host_http_read(response.body, (size_t)received);
    response.body[response.length] = 0;
    return response;
}

// Behind the white space.
static const char *skip_space(const char *at) { return at + strspn(at, " \t\r\n"); }

// Behind the text in quotes at `at`.
static const char *skip_text(const char *at) {
    for (at++; *at && *at != '"'; at++)
        if (*at == '\\' && at[1]) at++;
    return *at ? at + 1 : at;
}

// Behind the value at `at`.
static const char *skip_value(const char *at) {
    int depth = 0;
    for (; *at; at++) {
        if (*at == '"') {
            at = skip_text(at) - 1;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            if (depth-- == 0) break;
        } else if (*at == ',' && depth == 0) {
            break;
        }
    }
    return at;
}

static char *append_utf8(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xC0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *to++ = (char)(0xE0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    } else {
        *to++ = (char)(0xF0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3F));
        *to++ = (char)(0x80 | (code >> 6 & 0x3F));
        *to++ = (char)(0x80 | (code & 0x3F));
    }
    return to;
}

static uint32_t read_hex(const char *at) {
    char digits[5] = {0};
    strncpy(digits, at, 4);
    return (uint32_t)strtoul(digits, NULL, 16);
}

// What the text in quotes at `at` says.
static char *read_text(const char *at) {
    char *text = allocate(strlen(at) + 1), *to = text;
    for (at++; *at && *at != '"'; at++) {
        if (*at != '\\') {
            *to++ = *at;
            continue;
        }
        at++;
        static const char escapes[] = "b\bf\fn\nr\rt\t";
        const char *escape = *at ? strchr(escapes, *at) : NULL;
        if (*at == 'u') {
            uint32_t code = read_hex(at + 1);
            at += 4;
            if (code >= 0xD800 && code < 0xDC00 && at[1] == '\\' && at[2] == 'u') {
                code = 0x10000 + ((code - 0xD800) << 10) + (read_hex(at + 3) - 0xDC00);
                at += 6;
            }
            to = append_utf8(to, code);
        } else {
            *to++ = escape ? escape[1] : *at;
        }
    }
    *to = 0;
    return text;
}

// The host has checked that the arguments are JSON.
char *json_text(const char *object, const char *key) {
    const char *at = skip_space(object);
    if (*at != '{') return NULL;
    for (at = skip_space(at + 1); *at == '"'; at = skip_space(at + (*at == ','))) {
        bool is_wanted = strcmp(read_text(at), key) == 0;
        at = skip_space(skip_text(at));
        at = skip_space(at + (*at == ':'));
        if (is_wanted) return *at == '"' ? read_text(at) : NULL;
        at = skip_value(at);
    }
    return NULL;
}

char *json_quote(const char *text) {
    char *quoted = allocate(6 * strlen(text) + 3), *to = quoted;
    *to++ = '"';
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') *to++ = '\\';
        if (c < 0x20)
            to += sprintf(to, "\\u%04x", c);
        else
            *to++ = (char)c;
    }
    *to++ = '"';
    *to = 0;
    return quoted;
}
