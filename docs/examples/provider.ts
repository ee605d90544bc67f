// A provider with a server of its own: a price a route, less where less was done, and its vouchers in a file that is enough to be paid with
// relayer and database gone (`tallystick claim <file>`). The receiver's key comes by standard input, never as an argument.
//   node docs/examples/provider.ts <relayer url> <port> <voucher file> < key
import fastify from "fastify";
import { readFileSync } from "node:fs";
import { privateKeyToAccount } from "viem/accounts";
import { tallystick } from "../../sdk/src/provider/fastify.ts";

const [relayerUrl, port, voucherFile] = process.argv.slice(2);
if (relayerUrl === undefined || port === undefined || voucherFile === undefined) throw new Error("usage: provider.ts <relayer url> <port> <voucher file> < key");

const app = fastify();
await app.register(tallystick, {
  relayerUrl,
  account: privateKeyToAccount(readFileSync(0, "utf8").trim() as `0x${string}`),
  service: "words",
  publicUrl: `http://127.0.0.1:${port}`,
  list: { price: "$0.001", description: "Counts words" },
  voucherFile,
});

app.get("/languages", { config: { price: "$0.001" } }, async () => new Intl.Segmenter().resolvedOptions());

// At most a cent; a thousandth of a cent a word.
app.post<{ Body: { text: string } }>("/count", { config: { price: { max: "$0.01" } }, schema: { body: { type: "object", required: ["text"], properties: { text: { type: "string", maxLength: 20_000 } } } } }, async (request, reply) => {
  const segments = new Intl.Segmenter("en", { granularity: "word" }).segment(request.body.text);
  const words = [...segments].filter(({ isWordLike }) => isWordLike).length;
  reply.charge(String(Math.min(10 * words, 10_000))); // atomic units: nothing for nothing
  return { words, payer: request.payment?.payer };
});

app.get("/", async () => ({ sells: ["GET /languages", "POST /count"] })); // names no price: free

process.once("SIGTERM", () => void app.close());
await app.listen({ host: "127.0.0.1", port: Number(port) });
process.stdout.write(`selling on port ${port}\n`);
