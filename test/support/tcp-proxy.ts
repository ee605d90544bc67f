// Something between a relayer and its database that can be cut (connections break, new ones are refused) or stalled (nothing arrives any more).
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export type TcpProxy = { port: number; cut(): void; stall(): void; heal(): void; stop(): Promise<void> };

export async function startTcpProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  const sockets = new Set<Socket>();
  let state: "open" | "cut" | "stalled" = "open";
  const server = createServer((inside) => {
    if (state === "cut") return void inside.destroy();
    const outside = connect(target);
    for (const [from, to] of [[inside, outside], [outside, inside]] as const) {
      sockets.add(from);
      from.on("data", (chunk) => {
        if (state === "open") to.write(chunk);
      });
      from.on("error", () => {}); // the other end is told by close
      from.on("close", () => {
        sockets.delete(from);
        to.destroy();
      });
    }
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const breakAll = () => sockets.forEach((socket) => socket.destroy());
  return {
    port: (server.address() as AddressInfo).port,
    cut() {
      state = "cut";
      breakAll();
    },
    stall() {
      state = "stalled";
    },
    heal() {
      // What was swallowed is lost, so its connections are of no use.
      if (state === "stalled") breakAll();
      state = "open";
    },
    async stop() {
      breakAll();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

/** The same database by another way. */
export function through(databaseUrl: string, port: number): string {
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${port}`;
  return url.href;
}
