// Why a voucher is or is not accepted. Pure: the same question the reserving statement in store.ts decides atomically,
// asked again to tell the buyer the reason. If you change a condition here, change it there.
import { createHash, hash } from "node:crypto";
import type { Hex } from "viem";
import type { Channel } from "../channels/store.ts";
import type { Answer } from "./types.ts";

export type Refusal =
  /** Below charged + price: the client's view is old; a corrective 402 cures it. */
  | "ceiling_below_charged"
  /** Enough for what is charged, not for what is in flight: waiting a moment cures it. */
  | "channel_busy"
  | "ceiling_above_balance"
  | "withdrawal_pending"
  /** Vouchers of contract wallets can be invalidated after the fact, so no unsettled value is extended to them. */
  | "contract_wallet_unsupported";

export type Decision = { accept: true } | { accept: false; refusal: Refusal };

const ZERO_ADDRESS = "0x0000000000000000000000000000000000000000";

/** Money rule 3: ceiling >= charged + reserved + price, ceiling <= confirmed balance, no withdrawal, no contract wallet. */
export function decide(channel: Channel, ceiling: bigint, price: bigint): Decision {
  const refuse = (refusal: Refusal): Decision => ({ accept: false, refusal });
  if (channel.config.payerAuthorizer === ZERO_ADDRESS) return refuse("contract_wallet_unsupported");
  if (ceiling < channel.charged + price) return refuse("ceiling_below_charged");
  if (channel.withdrawInitiatedAt > 0) return refuse("withdrawal_pending");
  if (ceiling > channel.balance) return refuse("ceiling_above_balance");
  if (channel.frozenBy !== undefined || ceiling < channel.charged + channel.reserved + price) return refuse("channel_busy");
  return { accept: true };
}

/** sdk/src/receipt.ts outputHash, by native code; a test compares them. */
export function answerHash({ status, headers, body }: Answer): Hex {
  return framedHash([String(status), contentTypeOf(headers)], body);
}

/** Above it, bytes are hashed where they are instead of being copied behind their frame. */
const COPIED_BYTES = 16_384;

/** sha-256 over texts, each with its length before it, and bytes. */
export function framedHash(texts: readonly string[], bytes: Uint8Array): Hex {
  const frame = texts.map((text) => `${Buffer.byteLength(text)}:${text}`).join("");
  if (bytes.length === 0) return `0x${hash("sha256", frame, "hex")}`;
  if (bytes.length <= COPIED_BYTES) return `0x${hash("sha256", Buffer.concat([Buffer.from(frame), bytes]), "hex")}`;
  return `0x${createHash("sha256").update(frame).update(bytes).digest("hex")}`;
}

export function contentTypeOf(headers: Record<string, string | string[] | undefined>): string {
  const entry = Object.entries(headers).find(([name]) => name.toLowerCase() === "content-type");
  return String(entry?.[1] ?? "");
}
