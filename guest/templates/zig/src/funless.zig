//! FunLess for Zig: what a function is given, and what it may call.

const std = @import("std");

extern "fl_imps" fn __get_input_data(to: [*]u8) void;
extern "fl_imps" fn __insert_response(from: [*]const u8, length: usize) void;
extern "fl_imps" fn __insert_error(from: [*]const u8, length: usize) void;
extern "fl_imps" fn __console_log(from: [*]const u8, length: usize) void;
extern "fl_imps" fn __http_send(
    status: *u16,
    method: i32,
    url: [*]const u8,
    url_length: usize,
    headers: [*]const u8,
    headers_length: usize,
    body: [*]const u8,
    body_length: usize,
) i32;
extern "fl_imps" fn __http_read(to: [*]u8, length: usize) i32;

/// An instance runs once: what it allocates is never freed.
pub const allocator = std.heap.wasm_allocator;

pub const Method = enum(i32) { get, post, put, delete, patch, head, options };

pub const Response = struct { status: u16, body: []u8 };

/// Writes a line to the function's log.
pub fn log(comptime format: []const u8, arguments: anytype) void {
    const line = std.fmt.allocPrint(allocator, format, arguments) catch @panic("out of memory");
    __console_log(line.ptr, line.len);
}

var message: ?[]const u8 = null;

/// The error of an invocation whose caller gets this message.
pub fn fail(comptime format: []const u8, arguments: anytype) error{Failed} {
    message = std.fmt.allocPrint(allocator, format, arguments) catch "out of memory";
    return error.Failed;
}

/// Sends an HTTP request. The headers are lines such as "Accept:text/plain", without a line break at the end.
pub fn http(method: Method, url: []const u8, headers: []const u8, body: []const u8) error{ Failed, OutOfMemory }!Response {
    var status: u16 = 0;
    const sent = __http_send(&status, @intFromEnum(method), url.ptr, url.len, headers.ptr, headers.len, body.ptr, body.len);
    if (sent < 0) return fail("no response from {s}; the log says why", .{url});
    const received = try allocator.alloc(u8, @intCast(sent));
    const length = __http_read(received.ptr, received.len);
    return .{ .status = status, .body = received[0..@intCast(length)] };
}

/// Runs `function`, which takes `Arguments` and returns a value, both of them JSON for its caller.
pub fn invoke(comptime Arguments: type, comptime function: anytype, input_length: usize) i32 {
    respond(Arguments, function, input_length) catch |reason| {
        const text = message orelse @errorName(reason);
        __insert_error(text.ptr, text.len);
        return 1;
    };
    return 0;
}

fn respond(comptime Arguments: type, comptime function: anytype, input_length: usize) !void {
    const input = try allocator.alloc(u8, input_length);
    __get_input_data(input.ptr);
    const options: std.json.ParseOptions = .{ .ignore_unknown_fields = true };
    const arguments = std.json.parseFromSliceLeaky(Arguments, allocator, input, options) catch |reason|
        return fail("invalid arguments: {s}", .{@errorName(reason)});
    const result = try function(arguments);
    const response = try std.json.Stringify.valueAlloc(allocator, result, .{ .emit_null_optional_fields = false });
    __insert_response(response.ptr, response.len);
}
