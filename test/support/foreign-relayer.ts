// Another relayer as search meets it: it serves documents and says where services are called, honestly or not; and it sells.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Hex } from "viem";
import { metadataBytes, type Metadata } from "../../sdk/src/bazaar/metadata.ts";
import { hashOfMetadata } from "./bazaar-chain.ts";

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export async function startForeignRelayer() {
  const documents = new Map<string, Uint8Array>();
  const urls = new Map<string, string>();
  const routes = new Map<string, Answer>();
  const seen: string[] = [];
  const server = createServer((request, response) => {
    const path = (request.url ?? "").split("?")[0]!;
    seen.push(path);
    const [, , , kind, name = ""] = path.split("/");
    const route = [...routes].find(([prefix]) => path.startsWith(prefix))?.[1];
    if (route !== undefined) return route(request, response);
    if (kind === "metadata" && documents.has(name)) return response.end(documents.get(name));
    if (kind === "agents" && urls.has(name)) return response.setHeader("content-type", "application/json").end(JSON.stringify({ serviceId: name, url: urls.get(name) }));
    response.statusCode = 404;
    response.end();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    seen,
    /** Serves it; @returns the address that a listing names. */
    serve(metadata: Metadata): string {
      const hash = hashOfMetadata(metadata);
      documents.set(hash, metadataBytes(metadata));
      return `${origin}/api/v1/metadata/${hash}`;
    },
    sells: (serviceId: Hex, path: string): void => void urls.set(serviceId, origin + path),
    /** Whatever is asked below that path. */
    route: (prefix: string, answer: Answer): void => void routes.set(prefix, answer),
    stop: () => new Promise<void>((done) => {
      server.closeAllConnections();
      server.close(() => done());
    }),
  };
}
