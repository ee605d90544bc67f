// An upstream that streams by hand: a test writes each part and says when it ends, so that order is proven and not timed.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type OpenStream = {
  request: IncomingMessage;
  write(text: string): void;
  end(): void;
  /** Breaks the connection off. */
  break(): void;
  /** When the relayer's side is gone, or all was sent. */
  closed: Promise<void>;
};

export type StreamProvider = {
  origin: string;
  /** The next request for that path, once it has come; its head is sent. */
  next(path: string): Promise<OpenStream>;
  stop(): Promise<void>;
};

/** A path that ends in .sse is an event stream, one in .chunked says so by header, any other is an ordinary answer. */
export async function startStreamProvider(): Promise<StreamProvider> {
  const arrived = new Map<string, OpenStream[]>();
  const awaited = new Map<string, ((stream: OpenStream) => void)[]>();
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    request.resume();
    if (!/\.(sse|chunked)$/.test(path)) return void response.setHeader("content-type", "text/plain").end(`plain ${path}`);
    response.setHeader("content-type", path.endsWith(".sse") ? "text/event-stream" : "text/plain");
    if (path.endsWith(".chunked")) response.setHeader("tallystick-stream", "1");
    response.flushHeaders();
    const stream = openStream(request, response);
    const waiter = awaited.get(path)?.shift();
    if (waiter !== undefined) waiter(stream);
    else arrived.set(path, [...(arrived.get(path) ?? []), stream]);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async next(path) {
      const waiting = arrived.get(path)?.shift();
      if (waiting !== undefined) return waiting;
      return new Promise((found) => awaited.set(path, [...(awaited.get(path) ?? []), found]));
    },
    stop: () => new Promise((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}

function openStream(request: IncomingMessage, response: ServerResponse): OpenStream {
  return {
    request,
    write: (text) => void response.write(text),
    end: () => void response.end(),
    break: () => void request.socket.destroy(),
    closed: new Promise((done) => response.once("close", done)),
  };
}
