// FunLess for AssemblyScript: what a function is given, and what it may call.

// @ts-ignore: the decorator is AssemblyScript's
@external("fl_imps", "__get_input_data")
declare function getInputData(to: usize): void;
// @ts-ignore
@external("fl_imps", "__insert_response")
declare function insertResponse(from: usize, length: i32): void;
// @ts-ignore
@external("fl_imps", "__insert_error")
declare function insertError(from: usize, length: i32): void;
// @ts-ignore
@external("fl_imps", "__console_log")
declare function consoleLog(from: usize, length: i32): void;
// @ts-ignore
@external("fl_imps", "__http_send")
declare function httpSend(
  status: usize,
  method: i32,
  url: usize,
  urlLength: i32,
  headers: usize,
  headersLength: i32,
  body: usize,
  bodyLength: i32,
): i32;
// @ts-ignore
@external("fl_imps", "__http_read")
declare function httpRead(to: usize, length: i32): i32;

// What fails: its message is the caller's.
let failure: string | null = null;

/** The arguments, JSON. */
export function input(length: i32): string {
  const bytes = new ArrayBuffer(length);
  getInputData(changetype<usize>(bytes));
  return String.UTF8.decode(bytes);
}

/** Ends the invocation: with the result, JSON, unless `fail` was called. */
export function respond(result: string): i32 {
  const message = failure;
  const bytes = String.UTF8.encode(message === null ? result : message);
  if (message === null) {
    insertResponse(changetype<usize>(bytes), bytes.byteLength);
    return 0;
  }
  insertError(changetype<usize>(bytes), bytes.byteLength);
  return 1;
}

/** Fails the invocation: its caller gets the message. */
export function fail(message: string): void {
  failure = message;
}

/** Writes a line to the function's log. */
export function log(line: string): void {
  const bytes = String.UTF8.encode(line);
  consoleLog(changetype<usize>(bytes), bytes.byteLength);
}

export enum Method {
  GET,
  POST,
  PUT,
  DELETE,
  PATCH,
  HEAD,
  OPTIONS,
}

export class Response {
  constructor(
    public status: u16,
    public body: ArrayBuffer,
  ) {}

  text(): string {
    return String.UTF8.decode(this.body);
  }
}

/**
 * Sends an HTTP request. The headers are lines such as "Accept:text/plain", without a line break at the end. Null: there is
 * no response, and the log says why.
 */
export function http(method: Method, url: string, headers: string = "", body: string = ""): Response | null {
  const status = new StaticArray<u16>(1);
  const u = String.UTF8.encode(url);
  const h = String.UTF8.encode(headers);
  const b = String.UTF8.encode(body);
  const length = httpSend(
    changetype<usize>(status),
    method,
    changetype<usize>(u),
    u.byteLength,
    changetype<usize>(h),
    h.byteLength,
    changetype<usize>(b),
    b.byteLength,
  );
  if (length < 0) return null;
  const received = new ArrayBuffer(length);
  httpRead(changetype<usize>(received), length);
  return new Response(status[0], received);
}

/** What happens when an exception is thrown, which nothing can catch: the log says why, and the invocation traps. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message === null ? "abort" : message;
  const where = file === null ? "" : file;
  log(what + " at " + where + ":" + line.toString() + ":" + column.toString());
  unreachable();
}
