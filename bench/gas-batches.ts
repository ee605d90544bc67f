// Gas of batches, by their shape (rows, receivers) and by how they are sent. Two tables: what claiming alone costs, packed
// against plain; and what it costs until every receiver has its money, in each form that the contract offers.
import type { ContractTransactionReceipt } from "ethers";
import { hexToBytes, size, type Address, type Hex } from "viem";
import { signTransaction } from "viem/accounts";
import {
  actor, authorize, channelOf, claimRow, createSessionWorld, openChannels, packedGroup, packedRow, send, signClaimBatch,
  CHAIN_ID, type Channel, type ClaimRow, type PackedGroup, type SessionWorld,
} from "../test/support/session-world.ts";
import { l1Bytes } from "./fastlz.ts";
import { progress } from "./report.ts";

/** A voucher of 1.234567 USDC: three significant bytes, like most real ones. */
export const CEILING_ATOMIC = 1_234_567n;

/** A claim that the receiverAuthorizer signed and anyone sent. */
export type BatchRow = { path: "packed" | "plain"; rows: number; receivers: number; gasPerRow: number; bytesPerRow: number; gas: number };

/**
 * Ways to claim rows and pay out all their receivers, claims signed by the receiverAuthorizer and sent by anyone.
 * The first two use the published interface alone, so they are also what the published contract's users have.
 */
export const FORMS = [
  "published, one by one", // claimWithSignature, then a settle a receiver, each its own transaction: what the stock channel manager sends
  "published, multicall", // the same calls in one transaction
  "claimAndSettle",
  "packed, a transaction a group", // for each receiver a multicall of claimPacked and settle
  "packed, multicall", // claimPacked of all groups and a settle a receiver, in one transaction
  "mixed", // in one transaction: groups of at least MIXED_FROM rows packed, with their settles; all other rows by claimAndSettle
] as const;
export type Form = (typeof FORMS)[number];

/** From so many rows a receiver a packed group costs less than plain rows: its header, event and signature cost 16,000 gas more, a row 6,000 less. */
export const MIXED_FROM = 3;

/** Gas and bytes are of all transactions of the payout together. `l1Bytes`: what Base charges its L1 data fee for. */
export type PayoutRow = {
  form: Form;
  rows: number;
  receivers: number;
  /** Rows a receiver: as even as can be, or one receiver with all but one row of every other. */
  spread: "even" | "skewed";
  transactions: number;
  gas: number;
  gasPerRow: number;
  bytesPerRow: number;
  l1BytesPerRow: number;
  /** The least gas of its shape. */
  best: boolean;
  /** Gas beside paying every row out on its own in the cheapest form: below 1 batching gains. */
  besideAlone: number;
};
export type Shape = Pick<PayoutRow, "rows" | "receivers" | "spread">;

const even = (rows: number, receivers: number): Shape => ({ rows, receivers, spread: "even" });

/** Every size over every number of receivers that it can have. */
const MATRIX: Shape[] = [
  even(1, 1),
  ...[10, 25].flatMap((rows) => [1, 10].map((receivers) => even(rows, receivers))),
  ...[100, 500].flatMap((rows) => [1, 10, 100].map((receivers) => even(rows, receivers))),
];
/** Where packing begins to pay, and a shape that no single form fits. */
const AROUND: Shape[] = [even(2, 1), even(3, 1), even(20, 10), even(30, 10), even(40, 10), { rows: 100, receivers: 31, spread: "skewed" }];

export async function measureBatches(): Promise<{ rows: BatchRow[]; payouts: PayoutRow[] }> {
  const rows: BatchRow[] = [];
  const payouts: Measured[] = [];
  for (const shape of [...MATRIX, ...AROUND]) {
    progress(`gas: ${shape.rows} rows over ${shape.receivers} receiver(s)`);
    const world = await createSessionWorld();
    const channels = await openShape(world, shape);
    if (MATRIX.includes(shape)) rows.push(...(await measureClaims(world, channels, shape)));
    payouts.push(...(await measurePayouts(world, channels, shape)));
    await world.connection.close();
  }
  return { rows, payouts: judged(payouts) };
}

// ------------------------------------------------------------------ the batch

async function openShape(world: SessionWorld, shape: Shape): Promise<Channel[]> {
  const receivers = Array.from({ length: shape.receivers }, (_, i) => actor(`receiver ${i}`).address);
  await warmReceivers(world, receivers);
  const channels = Array.from({ length: shape.rows }, (_, i) => channelOf(world, actor(`payer ${i}`), receivers[receiverOf(shape, i)] as Address));
  await openChannels(world, channels);
  return channels;
}

/** Rows of one receiver stand together. */
function receiverOf({ rows, receivers, spread }: Shape, row: number): number {
  return spread === "even" ? Math.floor((row * receivers) / rows) : Math.max(0, row - (rows - receivers));
}

/** Pays every receiver once, so that neither their totals nor their USDC balance start at zero. */
export async function warmReceivers(world: SessionWorld, receivers: Address[]): Promise<void> {
  const channels = receivers.map((receiver) => channelOf(world, actor("warm"), receiver));
  await openChannels(world, channels);
  await send(world.channels, "claimPacked", await packedBatch(world, channels));
  await send(world.channels, "multicall", receivers.map((receiver) => settleCall(world, receiver)));
}

async function plainRows(world: SessionWorld, channels: Channel[]): Promise<ClaimRow[]> {
  return Promise.all(channels.map((channel) => claimRow(world, channel, CEILING_ATOMIC)));
}

async function packedBatch(world: SessionWorld, channels: Channel[]): Promise<PackedGroup[]> {
  return Promise.all(groupsOf(channels).map(async (members) => authorize(world, await unsignedGroup(world, members))));
}

export async function unsignedGroup(world: SessionWorld, channels: Channel[]): Promise<PackedGroup> {
  const [first] = channels;
  if (first === undefined) throw new Error("a group needs a channel");
  return packedGroup(first.config, await Promise.all(channels.map((channel) => packedRow(world, channel, CEILING_ATOMIC))));
}

const groupsOf = (channels: Channel[]): Channel[][] => [...Map.groupBy(channels, (channel) => channel.config.receiver).values()];
const receiversOf = (channels: Channel[]): Address[] => groupsOf(channels).map(([first]) => first!.config.receiver);

// ------------------------------------------------------------------ claims alone

async function measureClaims(world: SessionWorld, channels: Channel[], { rows, receivers }: Shape): Promise<BatchRow[]> {
  const row = async (path: BatchRow["path"], call: Hex): Promise<BatchRow> => {
    const { gas } = await measureAndRevert(world, [call]);
    return { path, rows, receivers, gas, gasPerRow: Math.round(gas / rows), bytesPerRow: Math.round(size(call) / rows) };
  };
  return [await row("plain", await plainCall(world, channels)), await row("packed", packedCall(world, await packedBatch(world, channels)))];
}

// ------------------------------------------------------------------ claims and payouts

type Measured = Omit<PayoutRow, "best" | "besideAlone">;

async function measurePayouts(world: SessionWorld, channels: Channel[], shape: Shape): Promise<Measured[]> {
  const measured: Measured[] = [];
  for (const form of FORMS) {
    const calls = await callsOf(world, form, channels);
    const { gas, l1 } = await measureAndRevert(world, calls);
    const bytes = calls.reduce((sum, call) => sum + size(call), 0);
    const perRow = (value: number) => Math.round(value / shape.rows);
    measured.push({ form, ...shape, transactions: calls.length, gas, gasPerRow: perRow(gas), bytesPerRow: perRow(bytes), l1BytesPerRow: perRow(l1) });
  }
  return measured;
}

/** One call a transaction. */
async function callsOf(world: SessionWorld, form: Form, channels: Channel[]): Promise<Hex[]> {
  const settles = receiversOf(channels).map((receiver) => settleCall(world, receiver));
  switch (form) {
    case "published, one by one":
      return [await plainCall(world, channels), ...settles];
    case "published, multicall":
      return [multicall(world, [await plainCall(world, channels), ...settles])];
    case "claimAndSettle":
      return [await plainCall(world, channels, "claimAndSettle")];
    case "packed, a transaction a group": {
      const groups = await packedBatch(world, channels);
      return groups.map((group, i) => multicall(world, [packedCall(world, [group]), settles[i]!]));
    }
    case "packed, multicall":
      return [multicall(world, [packedCall(world, await packedBatch(world, channels)), ...settles])];
    case "mixed":
      return [await mixedCall(world, channels)];
  }
}

async function mixedCall(world: SessionWorld, channels: Channel[]): Promise<Hex> {
  const large = groupsOf(channels).filter((group) => group.length >= MIXED_FROM).flat();
  const small = channels.filter((channel) => !large.includes(channel));
  const alone = small.length === 0 ? [] : [await plainCall(world, small, "claimAndSettle")];
  if (large.length === 0) return alone[0]!;
  return multicall(world, [packedCall(world, await packedBatch(world, large)), ...receiversOf(large).map((receiver) => settleCall(world, receiver)), ...alone]);
}

async function plainCall(world: SessionWorld, channels: Channel[], name = "claimWithSignature"): Promise<Hex> {
  const rows = await plainRows(world, channels);
  return encode(world, name, [rows, await signClaimBatch(world, rows)]);
}

const packedCall = (world: SessionWorld, groups: PackedGroup[]): Hex => encode(world, "claimPacked", [groups]);
const settleCall = (world: SessionWorld, receiver: Address): Hex => encode(world, "settle", [receiver, world.usdcAddress]);
const multicall = (world: SessionWorld, calls: Hex[]): Hex => encode(world, "multicall", [calls]);
const encode = (world: SessionWorld, name: string, args: unknown[]): Hex => world.channels.interface.encodeFunctionData(name, args) as Hex;

function judged(payouts: Measured[]): PayoutRow[] {
  const shapeOf = ({ rows, receivers, spread }: Shape) => `${rows}/${receivers}/${spread}`;
  const least = new Map([...Map.groupBy(payouts, shapeOf)].map(([shape, forms]) => [shape, Math.min(...forms.map(({ gas }) => gas))]));
  const alone = least.get(shapeOf(even(1, 1)))!;
  return payouts.map((row) => ({ ...row, best: row.gas === least.get(shapeOf(row)), besideAlone: Math.round((row.gas / (row.rows * alone)) * 100) / 100 }));
}

// ------------------------------------------------------------------ measuring

/** The most gas of one transaction on Base (EIP-7825); given, so that nothing is spent on estimates. */
const BASE_GAS_LIMIT = 16_777_216n;

/** Sends the calls to the channel contract, sums their gas and the size that L1 charges for, and takes everything back. */
async function measureAndRevert(world: SessionWorld, calls: Hex[]): Promise<{ gas: number; l1: number }> {
  const snapshot = await world.connection.provider.request({ method: "evm_snapshot" });
  const total = { gas: 0, l1: 0 };
  for (const data of calls) {
    const response = await world.relayer.sendTransaction({ to: world.channelsAddress, data, gasLimit: BASE_GAS_LIMIT });
    const gasUsed = Number(((await response.wait()) as ContractTransactionReceipt).gasUsed);
    total.gas += gasUsed;
    total.l1 += l1Bytes(await signedTransaction(world, data, gasUsed));
  }
  await world.connection.provider.request({ method: "evm_revert", params: [snapshot] });
  return total;
}

/** As a relayer that is not new would send it to Base: the fields that are not the call take a few bytes, and always the same. */
async function signedTransaction(world: SessionWorld, data: Hex, gasUsed: number): Promise<Uint8Array> {
  const transaction = { type: "eip1559", chainId: CHAIN_ID, nonce: 12_345, maxFeePerGas: 20_000_000n, maxPriorityFeePerGas: 1_000_000n, gas: BigInt(gasUsed), to: world.channelsAddress, data } as const;
  return hexToBytes(await signTransaction({ privateKey: actor("sender").key, transaction }));
}
