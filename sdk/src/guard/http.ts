// The guard over HTTP, apart from any server: what a path and a body come to. The local process and the relayer both serve it.
import { isHex, size, type Hex } from "viem";
import { TallystickError, toProblem } from "../errors.ts";
import { parseLineage, toWireLineage } from "../lineage.ts";
import type { Answer, Guard, MandateStatus } from "./guard.ts";
import { MAX_ORDERS, parseConfig, parseOrder } from "./request.ts";

export const GUARD_PATH = "/guard/v1";

export type GuardReply = { status: number; body: Record<string, unknown> };

/** @param path behind /guard/v1, such as `/vouchers`. Never throws. */
export async function answerGuard(guard: Guard, method: string, path: string, body: unknown): Promise<GuardReply> {
  try {
    const [, what, id, ...rest] = path.split("/");
    if (rest.length > 0) throw notFound(path);
    if (method === "POST" && what === "vouchers" && id === undefined) return await vouchers(guard, body);
    if (method === "POST" && what === "channels" && id === undefined) return { status: 200, body: await channels(guard, body) };
    if (method === "POST" && what === "mandates" && id === undefined) return { status: 200, body: await register(guard, body) };
    if (method === "GET" && what === "mandates" && id !== undefined) return { status: 200, body: statusJson(guard, await guard.status(idOf(id, "mandateId"))) };
    if (method === "GET" && what === "mandates") return { status: 200, body: { ...worldOf(guard), mandates: await guard.mandateIds() } };
    throw notFound(path);
  } catch (error) {
    return problem(error);
  }
}

/** One request as itself, or `{orders: [...]}`: each gets its own answer, and the status is 200. */
async function vouchers(guard: Guard, body: unknown): Promise<GuardReply> {
  const { orders } = objectOf(body);
  if (orders === undefined) {
    const [answer] = await guard.sign([parseOrder(body)]);
    if ("error" in answer!) throw answer.error;
    return { status: 200, body: answerJson(answer!) };
  }
  if (!Array.isArray(orders) || orders.length === 0 || orders.length > MAX_ORDERS) throw malformed("orders", `must be a list of 1 to ${MAX_ORDERS} requests`);
  const answers = await guard.sign(orders.map((order, index) => parseOrder(order, `orders[${index}]`)));
  return { status: 200, body: { answers: answers.map(answerJson) } };
}

function answerJson(answer: Answer): Record<string, unknown> {
  return "error" in answer ? { problem: toProblem(answer.error) } : { voucher: answer.voucher, approvedAtomic: String(answer.approved) };
}

async function channels(guard: Guard, body: unknown): Promise<Record<string, unknown>> {
  const { mandateId, config } = objectOf(body);
  return { ...(await guard.open(idOf(mandateId, "mandateId"), parseConfig(config))) };
}

async function register(guard: Guard, body: unknown): Promise<Record<string, unknown>> {
  const { mandateId, authorizer } = await guard.register(parseLineage(objectOf(body)["lineage"]));
  return { ...worldOf(guard), mandateId, authorizer, binding: await guard.binding(mandateId) };
}

const worldOf = ({ chainId, registry, channels: sessionChannels }: Guard) => ({ chainId, registry, sessionChannels });

export function statusJson(guard: Guard, { lineage, ids, authorizer, accounts, channels, room }: MandateStatus): Record<string, unknown> {
  return {
    ...worldOf(guard), mandateId: ids[0], authorizer, roomAtomic: String(room), lineage: toWireLineage(lineage),
    accounts: accounts.map(({ spent, period, periodSpent }, level) => ({ mandateId: ids[level], spentAtomic: String(spent), period, periodSpentAtomic: String(periodSpent) })),
    channels: channels.map(({ channelId, config, highest, approved }) => ({ channelId, config, highestAtomic: String(highest), approvedAtomic: String(approved) })),
  };
}

export function problem(error: unknown): GuardReply {
  const told = error instanceof TallystickError ? error : new TallystickError({ code: "guard_failed", status: 500, retry: "safe", detail: "The guard failed; nothing was signed.", cause: error });
  return { status: told.status, body: toProblem(told) };
}

function objectOf(body: unknown): Record<string, unknown> {
  if (typeof body === "object" && body !== null && !Array.isArray(body)) return body as Record<string, unknown>;
  throw malformed("body", "must be a JSON object");
}

function idOf(value: unknown, field: string): Hex {
  if (isHex(value) && size(value) === 32) return value.toLowerCase() as Hex;
  throw malformed(field, "must be 32 bytes of hex");
}

function malformed(field: string, why: string): TallystickError {
  return new TallystickError({ code: "guard_request_malformed", status: 400, retry: "never", field, detail: `${field} ${why}.` });
}

function notFound(path: string): TallystickError {
  return new TallystickError({ code: "not_found", status: 404, retry: "never", detail: `The guard has nothing at ${path.slice(0, 100)}.` });
}
