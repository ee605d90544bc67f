// Entries as they are hashed. Pure; runs in the background writer, never in a request.
import { hash } from "node:crypto";
import type { Address, Hex } from "viem";
import { canonicalJson } from "../../../../sdk/src/audit/canonical.ts";
import type { Sha256 } from "../../../../sdk/src/audit/merkle.ts";
import type { AuditEntry } from "./types.ts";

export const nativeSha256: Sha256 = (bytes) => hash("sha256", bytes, "buffer");

/** An entry whose time is known. */
export type TimedEntry = AuditEntry & { at: Date };

/** One entry may not hold up all others, however strange what it carries. */
const MOST_BYTES = 16_384;

/** The canonical JSON of an entry at its place in a chain; data that cannot be kept is left out and said so. */
export function bodyOf(entry: TimedEntry, seq: bigint): string {
  try {
    const body = encode(entry, seq);
    if (body.length <= MOST_BYTES) return body;
    return encode({ ...entry, reason: entry.reason?.slice(0, 1_000), data: { omitted: "too large" } }, seq);
  } catch {
    return encode({ ...entry, data: { omitted: "not canonical" } }, seq);
  }
}

function encode({ kind, at, subject, rule, reason, policyHash, payer, payee, amountAtomic, data }: TimedEntry, seq: bigint): string {
  const values = data === undefined || Object.keys(data).length === 0 ? undefined : data;
  return canonicalJson({ seq: Number(seq), kind, at, subject, rule, reason, policyHash: lower(policyHash), payer: lower(payer), payee: lower(payee), amountAtomic, data: values });
}

const lower = (hex: Address | Hex | undefined): string | undefined => hex?.toLowerCase();

/** What a buyer sent may stand in an entry, and PostgreSQL keeps neither NUL nor half a surrogate pair. */
const UNKEPT = /\\u0000|\\ud[89a-f]/i;

/** An entry as it is kept, with its canonical JSON. Whatever of it cannot be kept would show in the JSON. */
export function keptWithBody(entry: TimedEntry, seq: bigint): { entry: TimedEntry; body: string } {
  const body = bodyOf(entry, seq);
  if (!UNKEPT.test(body)) return { entry, body };
  const kept = keepable(entry);
  return { entry: kept, body: bodyOf(kept, seq) };
}

/** The entry itself, unless it has text that cannot be kept. */
export function keepable<Entry extends AuditEntry>(entry: Entry): Entry {
  const { subject, rule, reason, data } = entry;
  if (!UNKEPT.test(JSON.stringify([subject, rule, reason, data], (_name, value: unknown) => (typeof value === "bigint" ? String(value) : value)))) return entry;
  return { ...entry, subject: clean(subject), rule: clean(rule), reason: clean(reason), data: clean(data) } as Entry;
}

function clean(value: unknown): unknown {
  if (typeof value === "string") return value.toWellFormed().replaceAll("\0", "\uFFFD");
  if (Array.isArray(value)) return value.map(clean);
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [clean(name), clean(member)]));
}
