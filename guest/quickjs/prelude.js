// The globals of a function beside those of the language. `host` has what C provides: log, send, encode, decode.
(host) => {
  const show = (value) => {
    if (typeof value === 'string') return value;
    if (value instanceof Error) return value.stack ? `${value}\n${value.stack}`.trimEnd() : String(value);
    try {
      return JSON.stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  };
  const log = (...values) => host.log(values.map(show).join(' '));
  globalThis.console = { log, debug: log, info: log, warn: log, error: log };

  globalThis.TextEncoder = class TextEncoder {
    get encoding() { return 'utf-8'; }
    encode(text = '') { return new Uint8Array(host.encode(String(text))); }
  };
  globalThis.TextDecoder = class TextDecoder {
    get encoding() { return 'utf-8'; }
    decode(bytes = new Uint8Array()) { return host.decode(bytesOf(bytes)); }
  };

  const bytesOf = (body) => {
    if (body instanceof Uint8Array) return body;
    if (body instanceof ArrayBuffer) return new Uint8Array(body);
    if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
    return new TextEncoder().encode(String(body));
  };
  class Response {
    #body;
    constructor(url, status, body) {
      this.url = url;
      this.status = status;
      this.ok = status >= 200 && status < 300;
      this.#body = body;
    }
    async arrayBuffer() { return this.#body; }
    async bytes() { return new Uint8Array(this.#body); }
    async text() { return host.decode(new Uint8Array(this.#body)); }
    async json() { return JSON.parse(await this.text()); }
  }
  const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'HEAD', 'OPTIONS'];
  globalThis.fetch = async (url, { method = 'GET', headers = {}, body = '' } = {}) => {
    const number = METHODS.indexOf(String(method).toUpperCase());
    if (number < 0) throw new TypeError(`fetch: the method ${method} is none of ${METHODS.join(', ')}`);
    const pairs = Array.isArray(headers) ? headers : Object.entries(headers);
    const lines = pairs.map(([name, value]) => {
      if (/[\r\n]/.test(`${name}${value}`)) throw new TypeError(`fetch: the header ${name} has a line break`);
      return `${name}:${value}`;
    });
    const answer = host.send(number, String(url), lines.join('\n'), bytesOf(body));
    if (answer === null) throw new TypeError(`fetch: no response from ${url}; the log says why`);
    return new Response(String(url), answer[0], answer[1]);
  };
}
