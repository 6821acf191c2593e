//! Greets people: {"name":"Ada"} gives {"payload":"Hello Ada!"}. With a url, the result has the status that it responds
//! with.

const std = @import("std");
const funless = @import("funless.zig");

const Arguments = struct {
    name: []const u8 = "",
    url: ?[]const u8 = null,
};

const Greeting = struct {
    payload: []const u8,
    status: ?u16 = null,
};

fn hello(arguments: Arguments) !Greeting {
    if (arguments.name.len == 0) return funless.fail("\"name\" is missing", .{});
    funless.log("greeting {s}", .{arguments.name});
    const payload = try std.fmt.allocPrint(funless.allocator, "Hello {s}!", .{arguments.name});
    const url = arguments.url orelse return .{ .payload = payload };
    const response = try funless.http(.get, url, "", "");
    return .{ .payload = payload, .status = response.status };
}

export fn __invoke(input_length: usize) i32 {
    return funless.invoke(Arguments, hello, input_length);
}
