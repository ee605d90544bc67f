// The client for addresses that others chose: what it refuses to connect to, and that it follows and buffers nothing unbounded.
import { expect } from "chai";
import type { LookupAddress } from "node:dns";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createOutbound, type Outbound, type OutboundRequest } from "../../relayer/src/http/outbound.ts";

describe("outbound HTTP", () => {
  let server: Server;
  let port: number;
  let requests = 0;
  const open: Outbound[] = [];

  before(async () => {
    server = createServer((request, response) => {
      requests += 1;
      if (request.url === "/redirect") return response.writeHead(302, { location: `http://127.0.0.1:${port}/inside` }).end();
      if (request.url === "/drip") return void setInterval(() => response.write("x"), 20).unref();
      if (request.url === "/silent") return void response.flushHeaders();
      if (request.url === "/large") return response.end(Buffer.alloc(100_000));
      response.end("inside");
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    port = (server.address() as AddressInfo).port;
  });
  after(async () => {
    server.closeAllConnections();
    await Promise.all(open.map((outbound) => outbound.close()));
    await new Promise((done) => server.close(done));
  });

  /** A resolver that answers, call by call, what it is told. */
  const resolving = (...answers: string[][]) => {
    let call = 0;
    return ((_name: string, _options: unknown, callback: (error: null, addresses: LookupAddress[]) => void) => {
      const answer = answers[Math.min(call++, answers.length - 1)]!;
      callback(null, answer.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })));
    }) as unknown as Parameters<typeof createOutbound>[0]["lookup"];
  };
  const client = (allowPrivate: boolean, lookup?: Parameters<typeof createOutbound>[0]["lookup"]) => {
    const outbound = createOutbound({ allowPrivate, ...(lookup === undefined ? {} : { lookup }) });
    open.push(outbound);
    return outbound;
  };
  const request = (url: string, more: Partial<OutboundRequest> = {}): OutboundRequest => ({ method: "GET", url, headers: {}, timeoutMs: 1_000, maxBytes: 10_000, ...more });
  const codeOf = (promise: Promise<unknown>) => promise.then(() => "answered", (error: { code: string; retry: string }) => `${error.code} ${error.retry}`);

  it("refuses loopback, private and link-local addresses, however they are written", async () => {
    const before = requests;
    const hosts = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "[fe80::1]", "localhost"];
    for (const host of hosts) expect(await codeOf(client(false).fetch(request(`http://${host}:${port}/`))), host).to.equal("outbound_address_refused safe");
    expect(requests).to.equal(before);
  });

  it("refuses a name that resolves to a private address, also beside a public one", async () => {
    for (const answer of [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"]]) {
      expect(await codeOf(client(false, resolving(answer)).fetch(request(`http://api.example:${port}/`))), String(answer)).to.equal("outbound_address_refused safe");
    }
  });

  it("connects to the very address it checked: a name that changes its mind is asked once a connection", async () => {
    const outbound = client(true, resolving(["127.0.0.1"], ["192.0.2.1"]));
    expect((await outbound.fetch(request(`http://rebind.example:${port}/`))).body.toString()).to.equal("inside");
  });

  it("follows no redirect", async () => {
    const before = requests;
    const response = await client(true).fetch(request(`http://127.0.0.1:${port}/redirect`));
    expect([response.status, requests - before]).to.deep.equal([302, 1]);
  });

  it("limits bytes and time, also of an answer that never ends", async () => {
    expect(await codeOf(client(true).fetch(request(`http://127.0.0.1:${port}/large`)))).to.equal("upstream_too_large safe");
    expect(await codeOf(client(true).fetch(request(`http://127.0.0.1:${port}/drip`, { timeoutMs: 200 })))).to.equal("upstream_timeout safe");
    expect(await codeOf(client(true).fetch(request("http://127.0.0.1:1/")))).to.equal("upstream_unreachable safe");
  });

  it("opens an answer that never ends: head first, parts as they come, limits of silence, length and time", async () => {
    const open = (path: string, more: Partial<OutboundRequest> = {}, totalMs = 60_000) => client(true).open({ ...request(`http://127.0.0.1:${port}${path}`, more), totalMs: () => totalMs });
    const drip = await open("/drip");
    expect(drip.status).to.equal(200);
    for await (const part of drip.body) {
      expect(part.toString()).to.match(/^x+$/);
      break;
    }
    const drain = async (opened: Promise<{ body: AsyncIterable<Buffer> }>) => {
      for await (const part of (await opened).body) void part;
    };
    expect(await codeOf(drain(open("/drip", {}, 200)))).to.equal("upstream_timeout safe");
    expect(await codeOf(drain(open("/large")))).to.equal("upstream_too_large safe");
    expect(await codeOf(drain(open("/silent", { timeoutMs: 200 })))).to.equal("upstream_timeout safe");
    expect(await codeOf(client(false).open({ ...request(`http://127.0.0.1:${port}/`), totalMs: () => 1_000 }))).to.equal("outbound_address_refused safe");
    const leaving = new AbortController();
    const left = drain(open("/drip", { signal: leaving.signal }));
    leaving.abort();
    expect(await codeOf(left)).to.equal("upstream_unreachable safe");
  });
});
