// tallystick pay: curl, and a 402 is paid. The body goes to stdout, what was paid to stderr.
import { writeFile } from "node:fs/promises";
import type { AgentOptions, Payment } from "../../agent/agent.ts";
import { decodeHeader, readPaymentRequired } from "../../agent/wire.ts";
import { TallystickError } from "../../errors.ts";
import { withAgent } from "../agent.ts";
import type { Command, Outcome } from "../command.ts";
import type { Context } from "../context.ts";
import { CliError, messageOf } from "../exit.ts";
import { readRequest, type HttpRequest } from "../http-request.ts";
import { findMandate } from "../mandate-files.ts";
import { parseUsdc, usdc } from "../money.ts";
import { columns } from "../output.ts";
import type { ReceiptFile } from "../receipt-check.ts";

const DEFAULT_MAX = "0.10";

type Answer = { status: number; statusText: string; headers: Headers; body: Uint8Array };

export const pay: Command = {
  path: "pay",
  about: "Fetch a URL, paying for it when it asks for that",
  args: "<url>",
  positionals: [1, 1],
  details: `As curl does it: the body goes to stdout, byte for byte; what was paid goes to stderr. --max is a hard limit on what is signed for
this call, whatever the seller says. The first payment to a seller makes a deposit for about a hundred calls, which is not spent:
tallystick channels close brings back what is left. The seller's receipt is checked before the answer is shown.

Exit code 3: over a limit, nothing was signed. 4: the seller refuses the payment. 5: the answer is an HTTP error (its body is on
stdout all the same); unless it says otherwise such an answer is not charged.`,
  needs: ["chain", "key", "state", "guard"],
  options: {
    mandate: { type: "string", value: "mandate", about: "pay a principal's money under this mandate, with vouchers from the guard; its file, or the beginning of its id" },
    max: { type: "string", value: "usdc", about: `most to pay for this call; ${DEFAULT_MAX} when left out` },
    "max-deposit": { type: "string", value: "usdc", about: "largest deposit to make on the way" },
    "max-total": { type: "string", value: "usdc", about: "most to sign away in all, by the agent's records" },
    request: { type: "string", short: "X", value: "method", about: "HTTP method; GET, or POST with -d" },
    data: { type: "string", short: "d", value: "body", about: "request body: text, @file, or @- for stdin" },
    header: { type: "string", short: "H", value: "line", multiple: true, about: "request header 'Name: value'; may be repeated" },
    output: { type: "string", short: "o", value: "file", about: "write the body there" },
    include: { type: "boolean", short: "i", about: "status and headers before the body" },
    quiet: { type: "boolean", short: "q", about: "say nothing about the payment" },
    quote: { type: "boolean", about: "show what it would cost; sign nothing" },
    "save-receipt": { type: "string", value: "file", about: "keep the receipt there, for tallystick receipt verify" },
  },
  examples: [
    { about: "in the local world (npm start prints the URL)", line: "tallystick pay http://127.0.0.1:8402/s/documents/analyze -d @README.md -H 'content-type: text/plain' --local" },
    { about: "at most a cent, the answer into a file", line: "tallystick pay https://relayer.example/s/docs/analyze --max 0.01 -d @doc.txt -o analysis.json" },
    { about: "what does it cost?", line: "tallystick pay https://relayer.example/s/docs/analyze --quote" },
    { about: "under a mandate; the guard runs already", line: "tallystick pay https://relayer.example/s/docs/analyze -d @doc.txt --mandate 0x51fe" },
    { about: "for a script: status, body and payment in one object", line: "tallystick pay https://relayer.example/s/docs/analyze -d '{\"text\":\"…\"}' --json" },
  ],
  async run(context, input) {
    const { values } = input;
    const limit = (name: string) => (typeof values[name] === "string" ? parseUsdc(values[name], `--${name}`) : undefined);
    const limits = { perCall: limit("max") ?? parseUsdc(DEFAULT_MAX, "--max"), deposit: limit("max-deposit"), total: limit("max-total") };
    const request = await readRequest(context, input);
    if (values["quote"] === true) return quote(context, request);
    let payment: Payment | undefined;
    const answer = await withAgent(context, { limits, onPayment: (made) => void (payment = made), ...(await underMandate(context, values["mandate"])) }, (agent) => exchange(context, request, agent.fetch)).catch(inUsdc);
    if (typeof values["save-receipt"] === "string") await saveReceipt(context, values["save-receipt"], request, answer, payment);
    if (values["quiet"] !== true && !context.output.json) context.output.note(facts(answer, payment, limits.perCall));
    return outcome(answer, payment, values);
  },
};

async function exchange({ signal, output }: Context, { url, method, headers, body }: HttpRequest, fetcher: typeof fetch): Promise<Answer> {
  output.progress(`${method} ${url.host} …`);
  try {
    // A redirect could lead a signed payment elsewhere; whoever asks may follow it.
    const response = await fetcher(url, { method, headers, body, signal, redirect: "manual" });
    return { status: response.status, statusText: response.statusText, headers: response.headers, body: new Uint8Array(await response.arrayBuffer()) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new CliError({ code: "seller_unreachable", exit: "unreachable", retry: "safe", detail: `${url.host} cannot be reached (${messageOf(error)}).`, hint: "Check the URL and the network." });
  }
}

/** The key is then the agent's, and the money the principal's. */
async function underMandate(context: Context, name: unknown): Promise<Pick<AgentOptions, "mandate">> {
  if (typeof name !== "string") return {};
  const { lineage, at } = await findMandate(context.settings.stateDir, name);
  return { mandate: { lineage, registry: at.registry, guard: context.settings.guardUrl } };
}

const LIMIT_OPTIONS: Record<string, string> = { perCall: "--max", deposit: "--max-deposit", total: "--max-total" };

/** The agent's limits speak atomic units; a person gave USDC. */
function inUsdc(error: unknown): never {
  if (!(error instanceof TallystickError) || error.code !== "limit_exceeded") throw error;
  const { limit, wanted, most } = error.extra as { limit: string; wanted: string; most: string };
  const option = LIMIT_OPTIONS[limit] ?? limit;
  const detail = `It comes to ${usdc(BigInt(wanted))} USDC, and ${option} is ${usdc(BigInt(most))}. Nothing was signed.`;
  throw new CliError({ code: error.code, exit: "limit", detail, field: error.field, extra: { limit, wantedAtomic: wanted, mostAtomic: most }, cause: error });
}

/** The terms of the 402, and not one signature. */
async function quote(context: Context, request: HttpRequest): Promise<Outcome> {
  const answer = await exchange(context, request, fetch);
  if (answer.status !== 402) throw new CliError({ code: "not_for_sale", detail: `It answers ${answer.status} and asks for no payment.` });
  const { accepts, resource } = readPaymentRequired(answer.headers);
  const offers = accepts.map(({ scheme, network, amount, asset, payTo }) => ({ scheme, network, amountAtomic: amount, asset, payTo }));
  const rows = offers.map(({ scheme, network, amountAtomic, payTo }) => [`${/^\d+$/.test(amountAtomic) ? usdc(BigInt(amountAtomic)) : amountAtomic} USDC`, scheme, network, `to ${payTo}`]);
  return { json: { resource: resource?.url ?? request.url.href, offers }, text: columns(rows) };
}

function facts({ status }: Answer, payment: Payment | undefined, max: bigint): string {
  if (payment === undefined) return status < 400 ? "nothing was paid: it asked for nothing" : `nothing was charged: it answers ${status}`;
  const { charged, scheme, paymentId, channelId, transaction, receipt, latencyMs } = payment;
  const rows: [string, string][] = [
    ["paid", `${usdc(charged)} USDC, at most ${usdc(max)} (${scheme}, ${Math.round(latencyMs)} ms)`],
    ...(paymentId === undefined ? [] : [["payment", paymentId] as [string, string]]),
    ...(channelId === undefined ? [] : [["channel", channelId] as [string, string]]),
    ...(transaction === undefined || transaction === "" ? [] : [[channelId === undefined ? "transfer" : "deposit", transaction] as [string, string]]),
    ["receipt", receipt === undefined ? "none: this seller signs none" : `checked, signed by ${receipt.signer}`],
  ];
  return columns(rows);
}

async function saveReceipt({ output }: Context, path: string, { url, method, headers }: HttpRequest, answer: Answer, payment: Payment | undefined): Promise<void> {
  if (payment?.receipt === undefined) return output.note(`No receipt to keep: ${path} was not written.`);
  const file: ReceiptFile = {
    receipt: payment.receipt,
    request: { method, target: `${url.pathname}${url.search}`, contentType: headers.get("content-type") ?? "" },
    answer: { status: answer.status, contentType: answer.headers.get("content-type") ?? "" },
  };
  await writeFile(path, `${JSON.stringify(file, null, 2)}\n`).catch((error: NodeJS.ErrnoException) => {
    output.note(`The receipt could not be written to ${path} (${error.code}).`);
  });
}

async function outcome(answer: Answer, payment: Payment | undefined, values: Record<string, unknown>): Promise<Outcome> {
  const { status, statusText, headers, body } = answer;
  const file = typeof values["output"] === "string" ? values["output"] : undefined;
  // It is paid for: what cannot be written to the file must not be lost.
  const written = file !== undefined && (await writeFile(file, body).then(() => true, () => false));
  const head = values["include"] === true ? `HTTP ${status} ${statusText}\n${[...headers].map(([name, value]) => `${name}: ${value}\n`).join("")}\n` : "";
  const shown = written ? new TextEncoder().encode(head) : joined(new TextEncoder().encode(head), body);
  return {
    exit: file !== undefined && !written ? "failed" : status === 402 ? "refused" : status >= 400 ? "answer" : "ok",
    json: { status, headers: Object.fromEntries(headers), ...(written ? { file } : bodyJson(body)), payment: payment === undefined ? null : paymentJson(payment, headers) },
    text: shown,
  };
}

function joined(head: Uint8Array, body: Uint8Array): Uint8Array {
  const all = new Uint8Array(head.length + body.length);
  all.set(head);
  all.set(body, head.length);
  return all;
}

/** Text as text, everything else in base64. */
function bodyJson(body: Uint8Array): Record<string, string> {
  try {
    return { body: new TextDecoder("utf-8", { fatal: true }).decode(body) };
  } catch {
    return { bodyBase64: Buffer.from(body).toString("base64") };
  }
}

function paymentJson({ paymentId, scheme, charged, price, transaction, channelId, receipt, latencyMs }: Payment, headers: Headers): Record<string, unknown> {
  const response = headers.get("payment-response");
  const { extra } = response === null ? { extra: undefined } : (decodeHeader("PAYMENT-RESPONSE", response) as { extra?: unknown });
  return { paymentId, scheme, chargedAtomic: charged.toString(), priceAtomic: price.toString(), transaction: transaction || undefined, channelId, latencyMs: Math.round(latencyMs), extra, receipt };
}
