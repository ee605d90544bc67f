// Voucher files: one JSON object a line, as the provider side of the SDK writes them. Read line by line and judged one by one:
// a line that is cut off, forged or of another chain costs that line, not the rest. Pure but for the signature check.
import { getAddress, isAddress, isAddressEqual, isHex, recoverTypedDataAddress, zeroAddress, type Address, type Hex } from "viem";
import { channelIdOf, voucherTypes, type ChannelConfig, type SessionChannelsDomain } from "../typed-data.ts";
import { parseChannelConfig } from "./channels.ts";

export type Voucher = {
  config: ChannelConfig;
  channelId: Hex;
  /** What the payer signed, cumulative. */
  ceiling: bigint;
  /** What was charged up to then, cumulative: what may be claimed. */
  charged: bigint;
  signature: Hex;
  /** Where it was read: file and line. */
  at: string;
};

export type BadLine = { at: string; reason: string };

export type Read = { vouchers: Voucher[]; bad: BadLine[] };

const UINT128_MAX = (1n << 128n) - 1n;

/** Reads one line. @throws Error whose message is the reason. */
export function parseVoucherLine(line: string, at: string, domain: SessionChannelsDomain): Voucher {
  const value = JSON.parse(line) as Record<string, unknown>;
  if (typeof value !== "object" || value === null) throw new Error("no JSON object");
  if (Number(value["chainId"]) !== domain.chainId) throw new Error(`of chain ${String(value["chainId"])}, this is ${domain.chainId}`);
  const contract = value["contract"];
  if (typeof contract !== "string" || !isAddress(contract, { strict: false })) throw new Error("contract is no address");
  if (getAddress(contract) !== getAddress(domain.verifyingContract)) throw new Error(`of the contract ${getAddress(contract)}, this is ${domain.verifyingContract}`);
  const config = parseChannelConfig(value["channelConfig"], "channelConfig");
  const channelId = channelIdOf(domain, config);
  if (String(value["channelId"]).toLowerCase() !== channelId) throw new Error("channelId is not that of the channelConfig");
  const ceiling = amount(value["maxClaimableAmount"], "maxClaimableAmount");
  const charged = amount(value["totalCharged"], "totalCharged");
  const signature = value["signature"];
  if (typeof signature !== "string" || !isHex(signature) || signature.length < 4) throw new Error("signature is no hex");
  return { config, channelId, ceiling, charged, signature, at };
}

function amount(value: unknown, name: string): bigint {
  if (typeof value !== "string" || !/^\d{1,39}$/.test(value) || BigInt(value) > UINT128_MAX) throw new Error(`${name} is no amount`);
  return BigInt(value);
}

/** Reads all lines of a file's text; empty lines are nothing. */
export function parseVouchers(text: string, file: string, domain: SessionChannelsDomain): Read {
  const read: Read = { vouchers: [], bad: [] };
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    const at = `${file}:${index + 1}`;
    try {
      read.vouchers.push(parseVoucherLine(line, at, domain));
    } catch (error) {
      read.bad.push({ at, reason: error instanceof SyntaxError ? "no JSON (cut off?)" : (error as Error).message });
    }
  }
  return read;
}

/** True when the payer's key signed it; undefined when only the chain can say (a contract wallet signs for itself). */
export async function signedByPayer({ config, channelId, ceiling, signature }: Voucher, domain: SessionChannelsDomain): Promise<boolean | undefined> {
  if (isAddressEqual(config.payerAuthorizer, zeroAddress)) return undefined;
  const message = { channelId, maxClaimableAmount: ceiling };
  const signer = await recoverTypedDataAddress({ domain, types: voucherTypes, primaryType: "Voucher", message, signature }).catch((): Address => zeroAddress);
  return isAddressEqual(signer, config.payerAuthorizer);
}

/** What to claim from one channel. */
export type Claim = {
  config: ChannelConfig;
  channelId: Hex;
  /** The channel's new claimed total. */
  total: bigint;
  /** The good one with the highest ceiling. */
  voucher: Voucher;
};

/** What the vouchers of each channel allow, and the lines whose signature is bad, of those that were looked at. */
export async function bestClaims(vouchers: readonly Voucher[], isGood: (voucher: Voucher) => Promise<boolean>): Promise<{ claims: Claim[]; bad: BadLine[] }> {
  const groups = new Map<Hex, Voucher[]>();
  for (const voucher of vouchers) addTo(groups, voucher);
  const bad = new Map<string, BadLine>();
  const check = async (voucher: Voucher) => {
    const good = !bad.has(voucher.at) && (await isGood(voucher));
    if (!good) bad.set(voucher.at, { at: voucher.at, reason: "not signed by the channel's payer" });
    return good;
  };
  const claims: Claim[] = [];
  for (const group of groups.values()) {
    const claim = await bestOf(group, check);
    if (claim !== undefined) claims.push(claim);
  }
  return { claims, bad: [...bad.values()] };
}

function addTo(groups: Map<Hex, Voucher[]>, voucher: Voucher): void {
  const group = groups.get(voucher.channelId);
  if (group === undefined) groups.set(voucher.channelId, [voucher]);
  else group.push(voucher);
}

/**
 * What was charged at the newest good voucher, under the highest ceiling that is signed. Newest first, and no further than
 * needed: a file may hold a line for every call, and each check of a signature takes a millisecond or two.
 */
async function bestOf(group: readonly Voucher[], check: (voucher: Voucher) => Promise<boolean>): Promise<Claim | undefined> {
  const first = async (by: "charged" | "ceiling") => {
    for (const voucher of group.toSorted((a, b) => (a[by] < b[by] ? 1 : a[by] > b[by] ? -1 : 0))) if (await check(voucher)) return voucher;
    return undefined;
  };
  const [newest, highest] = [await first("charged"), await first("ceiling")];
  if (newest === undefined || highest === undefined) return undefined;
  const total = newest.charged < highest.ceiling ? newest.charged : highest.ceiling;
  return { config: highest.config, channelId: highest.channelId, total, voucher: highest };
}
