// One line of a voucher file: everything that the contract's claim needs, readable by `tallystick claim` and by eye.
import { getAddress, isAddress, isAddressEqual, isHex, recoverTypedDataAddress, zeroAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import { channelIdOf, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../typed-data.ts";

/** Amounts are decimal strings of atomic units. */
export type VoucherLine = {
  chainId: number;
  /** SessionChannels. */
  contract: Address;
  channelConfig: ChannelConfig;
  channelId: Hex;
  /** What the payer signed, cumulative. */
  maxClaimableAmount: string;
  /** What was charged, cumulative: what may be claimed. */
  totalCharged: string;
  requestCount: string;
  signature: Hex;
  /** ISO 8601. */
  at: string;
};

/** Whose vouchers, and on which contract; what is left out is not compared. */
export type Expected = { receiver?: Address; contract?: Address; chainId?: number };

const ADDRESSES = ["payer", "payerAuthorizer", "receiver", "receiverAuthorizer", "token"] as const;

/** Reads what somebody wrote. @throws TallystickError `voucher_malformed` that names the field. */
export function readVoucherLine(value: unknown): VoucherLine {
  const fields = objectOf(value, "line");
  const config = objectOf(fields["channelConfig"], "channelConfig");
  const address = (from: Record<string, unknown>, name: string): Address => {
    const text = from[name];
    if (typeof text !== "string" || !isAddress(text, { strict: false })) throw malformed(name, "is no address");
    return getAddress(text);
  };
  const amount = (name: string): string => {
    const text = fields[name];
    if (typeof text !== "string" || !/^\d{1,39}$/.test(text) || BigInt(text) >= 1n << 128n) throw malformed(name, "is no amount");
    return text;
  };
  const hex = (from: Record<string, unknown>, name: string, length?: number): Hex => {
    const text = from[name];
    if (typeof text !== "string" || !isHex(text) || (length !== undefined && text.length !== 2 + 2 * length)) throw malformed(name, "is no hex of the right length");
    return text.toLowerCase() as Hex;
  };
  const whole = (from: Record<string, unknown>, name: string): number => {
    const number = from[name];
    if (!Number.isSafeInteger(number) || (number as number) < 0) throw malformed(name, "is no whole number");
    return number as number;
  };
  const addresses = Object.fromEntries(ADDRESSES.map((name) => [name, address(config, name)])) as Record<(typeof ADDRESSES)[number], Address>;
  return {
    chainId: whole(fields, "chainId"), contract: address(fields, "contract"),
    channelConfig: { ...addresses, withdrawDelay: whole(config, "withdrawDelay"), salt: hex(config, "salt", 32) },
    channelId: hex(fields, "channelId", 32), maxClaimableAmount: amount("maxClaimableAmount"), totalCharged: amount("totalCharged"),
    requestCount: fields["requestCount"] === undefined ? "0" : amount("requestCount"), signature: hex(fields, "signature", 65), at: String(fields["at"] ?? ""),
  };
}

/**
 * Checks that the contract would honour it: the channel's id, the payer's signature, and that what is charged is signed for.
 * @throws TallystickError `voucher_invalid` with the reason.
 */
export async function verifyVoucherLine(line: VoucherLine, expected: Expected = {}): Promise<void> {
  const { channelConfig: config, channelId, signature } = line;
  const invalid = (field: string, why: string) => new TallystickError({ code: "voucher_invalid", status: 502, retry: "never", field, detail: `Voucher of channel ${channelId}: ${why}.` });
  if (expected.receiver !== undefined && !isAddressEqual(config.receiver, expected.receiver)) throw invalid("channelConfig.receiver", `pays ${config.receiver}, not ${expected.receiver}`);
  if (expected.contract !== undefined && !isAddressEqual(line.contract, expected.contract)) throw invalid("contract", `is of contract ${line.contract}, not ${expected.contract}`);
  if (expected.chainId !== undefined && line.chainId !== expected.chainId) throw invalid("chainId", `is of chain ${line.chainId}, not ${expected.chainId}`);
  const domain = sessionChannelsDomain(line.chainId, line.contract);
  if (channelIdOf(domain, config) !== channelId) throw invalid("channelId", "channelId is not that of its config");
  const maxClaimableAmount = BigInt(line.maxClaimableAmount);
  if (BigInt(line.totalCharged) > maxClaimableAmount) throw invalid("totalCharged", `${line.totalCharged} is charged, ${maxClaimableAmount} is signed`);
  const signer = await recoverTypedDataAddress({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount }, signature }).catch((): Address => zeroAddress);
  if (isAddressEqual(signer, zeroAddress) || !isAddressEqual(signer, config.payerAuthorizer)) throw invalid("signature", "is not signed by its payerAuthorizer");
}

/** True when `line` says more than `than` does: a channel's amounts never decrease. */
export function isNewer(line: VoucherLine, than: VoucherLine | undefined): boolean {
  if (than === undefined) return true;
  const [charged, before] = [BigInt(line.totalCharged), BigInt(than.totalCharged)];
  return charged > before || (charged === before && BigInt(line.maxClaimableAmount) > BigInt(than.maxClaimableAmount));
}

function objectOf(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(name, "is no JSON object");
  return value as Record<string, unknown>;
}

function malformed(field: string, why: string): TallystickError {
  return new TallystickError({ code: "voucher_malformed", status: 502, retry: "never", field, detail: `Voucher line: ${field} ${why}.` });
}
