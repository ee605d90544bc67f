// A provider's API as a process of its own: the smallest HTTP server there is.
import { createServer } from "node:http";
import { listen } from "../../test/support/stock-facilitator.ts";
import { bodyOf } from "./handler.ts";
import { answer } from "./part.ts";

const server = createServer((request, response) => {
  const body = bodyOf(request.url ?? "");
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body);
});
server.keepAliveTimeout = 60_000;
answer(await listen(server), {});
