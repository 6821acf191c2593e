// A FunLess function that runs JavaScript. `fl fn build` puts the program behind the memory and its place into
// `fl_program`.
//
// The program is a module. Its default export, or `fl_main`, is the function: it takes the arguments and returns the
// result, or a promise of it. What it throws is an error of its own.
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "quickjs.h"

#define HOST(name) __attribute__((import_module("fl_imps"), import_name(name)))

HOST("__get_input_data") void host_get_input_data(char *to);
HOST("__insert_response") void host_insert_response(const char *from, size_t length);
HOST("__insert_error") void host_insert_error(const char *from, size_t length);
HOST("__console_log") void host_console_log(const char *from, size_t length);
HOST("__http_send")
int32_t host_http_send(uint16_t *status, int32_t method, const char *url, size_t url_length, const char *headers,
                       size_t headers_length, const uint8_t *body, size_t body_length);
HOST("__http_read") int32_t host_http_read(uint8_t *to, size_t length);

// So deep may calls be nested. The stack of C has 1 MiB, but that of the host may be smaller.
// Of the stack of C, which has 1 MiB: calls that are nested deeper throw a RangeError, before the host's own stack ends.
#define STACK_BYTES (128 << 10)

struct program {
    const char *text; // ends with a zero, which is not counted
    size_t length;
};

__attribute__((visibility("default"))) volatile struct program fl_program;

static const char PRELUDE[] = {
#embed "prelude.js"
    , 0};

static JSValue log_line(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    size_t length;
    const char *text = JS_ToCStringLen(ctx, &length, arguments[0]);
    if (!text) return JS_EXCEPTION;
    host_console_log(text, length);
    JS_FreeCString(ctx, text);
    return JS_UNDEFINED;
}

static JSValue encode(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    size_t length;
    const char *text = JS_ToCStringLen(ctx, &length, arguments[0]);
    if (!text) return JS_EXCEPTION;
    JSValue bytes = JS_NewArrayBufferCopy(ctx, (const uint8_t *)text, length);
    JS_FreeCString(ctx, text);
    return bytes;
}

static JSValue decode(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    size_t length;
    const uint8_t *bytes = JS_GetUint8Array(ctx, &length, arguments[0]);
    if (!bytes) return JS_EXCEPTION;
    return JS_NewStringLen(ctx, (const char *)bytes, length);
}

// send(method, url, headers, body) returns [status, body], or null if there is no response.
static JSValue http_send(JSContext *ctx, JSValueConst self, int count, JSValueConst *arguments) {
    int32_t method;
    size_t url_length, headers_length, body_length;
    if (JS_ToInt32(ctx, &method, arguments[0])) return JS_EXCEPTION;
    const uint8_t *body = JS_GetUint8Array(ctx, &body_length, arguments[3]);
    const char *url = JS_ToCStringLen(ctx, &url_length, arguments[1]);
    const char *headers = JS_ToCStringLen(ctx, &headers_length, arguments[2]);
    JSValue result = JS_EXCEPTION;
    if (body && url && headers) {
        uint16_t status = 0;
        int32_t length =
            host_http_send(&status, method, url, url_length, headers, headers_length, body, body_length);
        uint8_t *received = length < 0 ? NULL : malloc((size_t)length + 1);
        if (length < 0) {
            result = JS_NULL;
        } else if (!received) {
            result = JS_ThrowOutOfMemory(ctx);
        } else {
            int32_t read = host_http_read(received, (size_t)length);
            result = JS_NewArray(ctx);
            JS_SetPropertyUint32(ctx, result, 0, JS_NewInt32(ctx, status));
            JS_SetPropertyUint32(ctx, result, 1, JS_NewArrayBufferCopy(ctx, received, (size_t)read));
        }
        free(received);
    }
    JS_FreeCString(ctx, url);
    JS_FreeCString(ctx, headers);
    return result;
}

// Adds the globals. False if that throws.
static bool add_globals(JSContext *ctx) {
    JSValue host = JS_NewObject(ctx);
    JS_SetPropertyStr(ctx, host, "log", JS_NewCFunction(ctx, log_line, "log", 1));
    JS_SetPropertyStr(ctx, host, "encode", JS_NewCFunction(ctx, encode, "encode", 1));
    JS_SetPropertyStr(ctx, host, "decode", JS_NewCFunction(ctx, decode, "decode", 1));
    JS_SetPropertyStr(ctx, host, "send", JS_NewCFunction(ctx, http_send, "send", 4));
    JSValue prelude = JS_Eval(ctx, PRELUDE, sizeof PRELUDE - 1, "<fl>", JS_EVAL_TYPE_GLOBAL);
    if (JS_IsException(prelude)) return false;
    return !JS_IsException(JS_Call(ctx, prelude, JS_UNDEFINED, 1, &host));
}

// What the value is in the end: of a promise its result, once all jobs have run.
static JSValue settled(JSContext *ctx, JSValue value) {
    JSContext *of_job;
    int ran;
    while ((ran = JS_ExecutePendingJob(JS_GetRuntime(ctx), &of_job)) > 0) continue;
    if (ran < 0) return JS_EXCEPTION;
    if (!JS_IsPromise(value)) return value;
    switch (JS_PromiseState(ctx, value)) {
    case JS_PROMISE_FULFILLED:
        return JS_PromiseResult(ctx, value);
    case JS_PROMISE_REJECTED:
        return JS_Throw(ctx, JS_PromiseResult(ctx, value));
    default:
        return JS_ThrowTypeError(ctx, "the function waits for a promise that nothing fulfils");
    }
}

static JSValue property(JSContext *ctx, JSValue object, const char *name) {
    return JS_IsObject(object) ? JS_GetPropertyStr(ctx, object, name) : JS_UNDEFINED;
}

// The function that the module exports.
static JSValue exported(JSContext *ctx, JSValue module) {
    JSValue by_default = property(ctx, module, "default");
    JSValue candidates[] = {by_default, property(ctx, module, "fl_main"), property(ctx, by_default, "fl_main"),
                            property(ctx, by_default, "default")};
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        if (JS_IsFunction(ctx, candidates[i])) return candidates[i];
    return JS_ThrowTypeError(ctx, "the module exports neither a default function nor `fl_main`");
}

// Runs the program with these arguments. Returns the result as JSON, or an exception.
static JSValue run(JSContext *ctx, const char *input, size_t length) {
    if (!add_globals(ctx)) return JS_EXCEPTION;
    int flags = JS_EVAL_TYPE_MODULE | JS_EVAL_FLAG_COMPILE_ONLY;
    JSValue compiled = JS_Eval(ctx, fl_program.text, fl_program.length, "function.js", flags);
    if (JS_IsException(compiled)) return compiled;
    JSModuleDef *module = JS_VALUE_GET_PTR(compiled);
    if (JS_IsException(settled(ctx, JS_EvalFunction(ctx, compiled)))) return JS_EXCEPTION;
    JSValue function = exported(ctx, JS_GetModuleNamespace(ctx, module));
    if (JS_IsException(function)) return function;
    JSValue arguments = JS_ParseJSON(ctx, input, length, "<arguments>");
    if (JS_IsException(arguments)) return arguments;
    JSValue result = settled(ctx, JS_Call(ctx, function, JS_UNDEFINED, 1, &arguments));
    if (JS_IsException(result)) return result;
    return JS_JSONStringify(ctx, result, JS_UNDEFINED, JS_UNDEFINED);
}

static void log_lines(const char *text) {
    for (size_t length; *text; text += length + (text[length] == '\n')) {
        length = strcspn(text, "\n");
        if (length) host_console_log(text, length);
    }
}

// Passes on what was thrown: of an Error its message. Where a TypeError and the like came from is logged.
static void fail(JSContext *ctx) {
    JSValue thrown = JS_GetException(ctx);
    bool is_error = JS_IsError(thrown);
    const char *name = is_error ? JS_ToCString(ctx, JS_GetPropertyStr(ctx, thrown, "name")) : NULL;
    bool is_plain = name && !strcmp(name, "Error");
    size_t length;
    JSValue shown = is_plain ? JS_GetPropertyStr(ctx, thrown, "message") : JS_DupValue(ctx, thrown);
    const char *text = JS_ToCStringLen(ctx, &length, shown);
    if (is_error && !is_plain && text) {
        const char *stack = JS_ToCString(ctx, JS_GetPropertyStr(ctx, thrown, "stack"));
        log_lines(text);
        if (stack) log_lines(stack);
    }
    if (text) host_insert_error(text, length);
}

__attribute__((export_name("__invoke"))) int32_t invoke(int32_t input_length) {
    // An instance runs once: what it allocates is never freed.
    JSRuntime *runtime = JS_NewRuntime();
    JSContext *ctx = runtime ? JS_NewContext(runtime) : NULL;
    char *input = malloc((size_t)input_length + 1);
    if (!ctx || !input) abort();
    JS_SetMaxStackSize(runtime, STACK_BYTES);
    host_get_input_data(input);
    input[input_length] = 0;
    JSValue result = run(ctx, input, (size_t)input_length);
    if (JS_IsException(result)) {
        fail(ctx);
        return 1;
    }
    size_t length = sizeof "null" - 1;
    const char *text = JS_IsUndefined(result) ? "null" : JS_ToCStringLen(ctx, &length, result);
    if (!text) abort();
    host_insert_response(text, length);
    return 0;
}
