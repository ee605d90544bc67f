// What an operator says about the audit log: who reads all of it, and where its roots are shown.
import { getAddress, isAddress, type Address } from "viem";
import type { Read } from "./fee-config.ts";

export type AuditConfig = {
  /** Reads everything. */
  operatorToken: string | undefined;
  /** AuditAnchor contract; undefined: nothing is shown to the chain. */
  anchor: Address | undefined;
  anchorPeriodS: number;
};

export const AUDIT_KEYS: { name: string; about: string; fallback: string; secret?: true }[] = [
  { name: "RELAYER_OPERATOR_TOKEN", about: "who sends it as Authorization: Bearer reads all of the audit log; 32 characters or more, empty: nobody over HTTP", fallback: "", secret: true },
  { name: "RELAYER_AUDIT_ANCHOR", about: "AuditAnchor contract that the audit log's daily root is shown to; empty: none", fallback: "" },
  { name: "RELAYER_AUDIT_ANCHOR_PERIOD_S", about: "length of such a day; shorter ones are for local use", fallback: "86400" },
];

export function readAuditConfig({ parse, integer }: Read): AuditConfig {
  return {
    operatorToken: parse<string | undefined>("RELAYER_OPERATOR_TOKEN", readToken, "32 to 256 printable characters without spaces", "") || undefined,
    anchor: (parse<string>("RELAYER_AUDIT_ANCHOR", readOptionalAddress, "a 20-byte address", "") || undefined) as Address | undefined,
    anchorPeriodS: integer("RELAYER_AUDIT_ANCHOR_PERIOD_S", 1, 31_536_000),
  };
}

function readToken(value: string): string | undefined {
  return value === "" || /^[\x21-\x7e]{32,256}$/.test(value) ? value : undefined;
}

function readOptionalAddress(value: string): string | undefined {
  if (value === "") return "";
  return isAddress(value, { strict: false }) ? getAddress(value) : undefined;
}
