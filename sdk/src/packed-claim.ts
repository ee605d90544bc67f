// Byte layouts of SessionChannels.claimPacked: the rows that go in and the results that its PackedClaimed event carries.
// Pure; the Solidity side is documented on `claimPacked` in contracts/interfaces/ISessionChannels.sol.
import { concat, getAddress, isAddressEqual, numberToHex, size, slice, zeroHash, type Address, type Hex } from "viem";

/** One voucher to claim, of the group's receiver, receiverAuthorizer, token and withdrawDelay. Amounts are atomic units. */
export type PackedRow = {
  payer: Address;
  /** Equal to `payer` costs nothing; any other key costs 20 bytes. */
  payerAuthorizer: Address;
  /** Zero costs nothing; any other salt costs 32 bytes. */
  salt: Hex;
  /** The voucher's ceiling, cumulative. */
  maxClaimableAmount: bigint;
  /** What to claim, cumulative. Equal to the ceiling costs nothing. */
  totalClaimed: bigint;
  /** The voucher's signature: 65 bytes (r, s, v) or 64 bytes (EIP-2098). Decoded rows carry 64. */
  signature: Hex;
};

/** Why a row moved nothing, in the order of the contract's RowStatus. */
export const ROW_STATUSES = [
  "Claimed",
  "NothingNew",
  "ExceedsCeiling",
  "ExceedsBalance",
  "InvalidSignature",
  "ContractSignatureUnsupported",
  "ReceiverTotalOverflow",
] as const;
export type RowStatus = (typeof ROW_STATUSES)[number];

/** What became of one row. */
export type PackedResult = {
  status: RowStatus;
  channelId: Hex;
  /** Claimed by this row, atomic units; 0 unless status is Claimed. */
  claimAmount: bigint;
  /** The channel's cumulative claimed total after the row, atomic units. */
  totalClaimed: bigint;
};

/** Bytes that are not what claimPacked reads or writes. */
export class MalformedPackedBytes extends Error {
  readonly code = "malformed_packed_bytes";
  override readonly name = "MalformedPackedBytes";
  /** Offset of the bad row, bytes. */
  readonly offset: number;
  constructor(reason: string, offset: number) {
    super(`${reason} at byte ${offset}`);
    this.offset = offset;
  }
}

const FLAG = { authorizer: 0x01, salt: 0x02, wide: 0x04, total: 0x08 } as const;
const KNOWN_FLAGS = 0x0f;
const MAX_NARROW = (1n << 64n) - 1n;
const MAX_WIDE = (1n << 128n) - 1n;
const RESULT_BYTES = 65;

/** Rows as claimPacked reads them, each in its shortest form. Throws RangeError on amounts outside uint128. */
export function encodePackedRows(rows: readonly PackedRow[]): Hex {
  return rows.length === 0 ? "0x" : (concat(rows.map(encodeRow)).toLowerCase() as Hex);
}

function encodeRow(row: PackedRow): Hex {
  const amounts = [row.maxClaimableAmount, row.totalClaimed];
  if (amounts.some((amount) => amount < 0n || amount > MAX_WIDE)) throw new RangeError(`not a uint128: ${amounts.join(", ")}`);
  const flags =
    (isAddressEqual(row.payerAuthorizer, row.payer) ? 0 : FLAG.authorizer) |
    (row.salt === zeroHash ? 0 : FLAG.salt) |
    (amounts.some((amount) => amount > MAX_NARROW) ? FLAG.wide : 0) |
    (row.totalClaimed === row.maxClaimableAmount ? 0 : FLAG.total);
  const width = flags & FLAG.wide ? 16 : 8;
  return concat([
    numberToHex(flags, { size: 1 }),
    row.payer,
    ...(flags & FLAG.authorizer ? [row.payerAuthorizer] : []),
    ...(flags & FLAG.salt ? [fixed(row.salt, 32)] : []),
    numberToHex(row.maxClaimableAmount, { size: width }),
    ...(flags & FLAG.total ? [numberToHex(row.totalClaimed, { size: width })] : []),
    compactSignature(row.signature),
  ]);
}

/** Rows back from their bytes, signatures in EIP-2098 form. Throws MalformedPackedBytes where the contract would revert. */
export function decodePackedRows(rows: Hex): PackedRow[] {
  const reader = new Reader(rows);
  const decoded: PackedRow[] = [];
  while (reader.more) {
    const flags = Number(reader.uint(1));
    if ((flags & ~KNOWN_FLAGS) !== 0) throw new MalformedPackedBytes(`unknown flags 0x${flags.toString(16)}`, reader.start);
    const width = flags & FLAG.wide ? 16 : 8;
    const payer = getAddress(reader.bytes(20));
    const payerAuthorizer = flags & FLAG.authorizer ? getAddress(reader.bytes(20)) : payer;
    const salt = flags & FLAG.salt ? reader.bytes(32) : zeroHash;
    const maxClaimableAmount = reader.uint(width);
    const totalClaimed = flags & FLAG.total ? reader.uint(width) : maxClaimableAmount;
    decoded.push({ payer, payerAuthorizer, salt, maxClaimableAmount, totalClaimed, signature: reader.bytes(64) });
    reader.next();
  }
  return decoded;
}

/** `results` of a PackedClaimed event: 65 bytes a row, in the order of the rows. */
export function decodePackedResults(results: Hex): PackedResult[] {
  const reader = new Reader(results);
  const decoded: PackedResult[] = [];
  while (reader.more) {
    const status = ROW_STATUSES[Number(reader.uint(1))];
    if (status === undefined) throw new MalformedPackedBytes("unknown row status", reader.start);
    decoded.push({ status, channelId: reader.bytes(32), claimAmount: reader.uint(16), totalClaimed: reader.uint(16) });
    reader.next();
  }
  return decoded;
}

/** The inverse of decodePackedResults; what the contract does, for tests and simulations. */
export function encodePackedResults(results: readonly PackedResult[]): Hex {
  if (results.length === 0) return "0x";
  return concat(
    results.flatMap(({ status, channelId, claimAmount, totalClaimed }) => [
      numberToHex(ROW_STATUSES.indexOf(status), { size: 1 }),
      fixed(channelId, 32),
      numberToHex(claimAmount, { size: 16 }),
      numberToHex(totalClaimed, { size: 16 }),
    ]),
  );
}

/** How many rows `results` carries, without decoding it. */
export function packedResultCount(results: Hex): number {
  return size(results) / RESULT_BYTES;
}

/** EIP-2098: the parity of v in the top bit of s. A high s (which no honest signer makes) has no such form. */
export function compactSignature(signature: Hex): Hex {
  if (size(signature) === 64) return signature;
  if (size(signature) !== 65) throw new RangeError(`a signature has 64 or 65 bytes, not ${size(signature)}`);
  const v = Number(slice(signature, 64));
  const parity = v >= 27 ? v - 27 : v;
  const s = BigInt(slice(signature, 32, 64));
  if ((parity !== 0 && parity !== 1) || s >> 255n !== 0n) throw new RangeError("not a signature that EIP-2098 can express");
  return concat([slice(signature, 0, 32), numberToHex(s | (BigInt(parity) << 255n), { size: 32 })]);
}

function fixed(value: Hex, bytes: number): Hex {
  if (size(value) !== bytes) throw new RangeError(`expected ${bytes} bytes, got ${size(value)}`);
  return value;
}

/** Walks bytes from the left; `start` is where the current row began. */
class Reader {
  readonly #hex: string;
  #at = 0;
  start = 0;
  constructor(value: Hex) {
    this.#hex = value.slice(2).toLowerCase();
  }
  get more(): boolean {
    return this.#at < this.#hex.length / 2;
  }
  next(): void {
    this.start = this.#at;
  }
  bytes(count: number): Hex {
    const part = this.#hex.slice(2 * this.#at, 2 * (this.#at + count));
    if (part.length !== 2 * count) throw new MalformedPackedBytes("the bytes end inside a row", this.start);
    this.#at += count;
    return `0x${part}`;
  }
  uint(count: number): bigint {
    return BigInt(this.bytes(count));
  }
}
