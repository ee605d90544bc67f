// Channel terms out of the agent's storage folder. Read by shape, not by the storage's own format: this is for the day when
// something went wrong, and the terms are all that is needed to get money back.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ChannelConfig, SessionChannelsDomain } from "../typed-data.ts";
import { parseChannelConfig } from "./channels.ts";

const MAX_FILE_BYTES = 64 << 20;
const MAX_DEPTH = 12;
const TERMS = ["payer", "receiver", "receiverAuthorizer", "token", "withdrawDelay", "salt"];

/**
 * Every channel config found in the folder's JSON and JSON-lines files, repeats included; none when there is no folder. Those
 * that are said to be of another chain or contract are left out.
 */
export async function storedConfigs(folder: string, domain: SessionChannelsDomain): Promise<ChannelConfig[]> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const found: ChannelConfig[] = [];
  for (const name of names.filter((entry) => /\.jsonl?$/.test(entry)).sort()) {
    const path = join(folder, name);
    const { size } = await stat(path);
    if (size <= MAX_FILE_BYTES) collect(parsed(await readFile(path, "utf8")), found, domain, 0);
  }
  return found;
}

/** One JSON value, or one a line; what is neither is left out, such as a line that a crash cut off. */
function parsed(text: string): unknown[] {
  const whole = tryParse(text);
  return whole === undefined ? text.split("\n").map(tryParse) : [whole];
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function collect(value: unknown, found: ChannelConfig[], domain: SessionChannelsDomain, depth: number): void {
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH || isElsewhere(value, domain)) return;
  if (TERMS.every((name) => name in value)) {
    const config = wellFormed(value);
    if (config !== undefined) found.push(config);
    return;
  }
  for (const inner of Object.values(value)) collect(inner, found, domain, depth + 1);
}

function isElsewhere(value: { chainId?: unknown; contract?: unknown }, { chainId, verifyingContract }: SessionChannelsDomain): boolean {
  if (value.chainId !== undefined && Number(value.chainId) !== chainId) return true;
  return typeof value.contract === "string" && value.contract.toLowerCase() !== verifyingContract.toLowerCase();
}

function wellFormed(value: unknown): ChannelConfig | undefined {
  try {
    return parseChannelConfig(value);
  } catch {
    return undefined; // has the names, but not the values, of a channel's terms
  }
}
