// How a batch becomes calldata: packed for our contract, plain for the published one. Bad rows are set apart before
// anything is sent: they would cost gas in the packed form, and the whole transaction in the plain one.
import { encodeFunctionData, isAddressEqual, zeroAddress, zeroHash, type Hex } from "viem";
import { sessionChannelsAbi as abi } from "../../../../sdk/src/abi/session-channels.ts";
import { encodePackedRows } from "../../../../sdk/src/packed-claim.ts";
import { sessionChannelsDomain } from "../../../../sdk/src/typed-data.ts";
import { isRevert, readChain, revertName } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { CONTRACT_WALLET_GAS } from "./costs.ts";
import { payeeKey, type Batch, type Group, type PlannedRow } from "./packing.ts";
import type { Payee } from "./payout-store.ts";

export type AdapterDeps = Pick<Deps, "chain" | "config" | "keyring">;
export type Poisoned = { row: PlannedRow; reason: string };

/** Rows in one simulation: some 4M gas and 100 kB, below what nodes allow. */
const SIMULATED_ROWS = 200;

/** A batch without its bad rows; without groups when nothing is left. */
export async function withoutPoisoned(deps: AdapterDeps, batch: Batch): Promise<{ batch: Batch; poisoned: Poisoned[] }> {
  const rows = batch.groups.flatMap((group) => group.rows);
  const poisoned = rows.flatMap((row) => unfit(deps, batch, row) ?? []);
  const unfitIds = new Set(poisoned.map(({ row }) => row.channelId));
  // Asked in the authorizer's name, so that nothing has to be signed for it.
  for (const own of Map.groupBy(rows.filter(({ channelId }) => !unfitIds.has(channelId)), ({ config }) => config.receiverAuthorizer).values()) {
    for (let start = 0; start < own.length; start += SIMULATED_ROWS) poisoned.push(...(await refusedRows(deps, own.slice(start, start + SIMULATED_ROWS))));
  }
  const bad = new Set(poisoned.map(({ row }) => row.channelId));
  const groups = batch.groups.map((group) => ({ ...group, rows: group.rows.filter(({ channelId }) => !bad.has(channelId)) })).filter((group) => group.rows.length > 0);
  return { batch: { ...batch, groups }, poisoned };
}

/** What cannot even be written down: a signature without a packed form, a key that left the ring. */
function unfit({ keyring }: AdapterDeps, { form }: Batch, row: PlannedRow): Poisoned | undefined {
  if (!keyring.has(row.config.receiverAuthorizer)) return { row, reason: "AuthorizerUnknown" };
  if (form === "plain") return undefined;
  try {
    packedRows([row]);
    return undefined;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { row, reason: "InvalidSignature" };
  }
}

/** The published claim reverts as a whole, so bad rows are found by halving: n log2(rows) calls for n of them. */
async function refusedRows(deps: AdapterDeps, rows: readonly PlannedRow[]): Promise<Poisoned[]> {
  const reason = await refusal(deps, rows);
  if (reason === undefined) return [];
  if (rows.length === 1) return [{ row: rows[0]!, reason }];
  const middle = rows.length >> 1;
  return [...(await refusedRows(deps, rows.slice(0, middle))), ...(await refusedRows(deps, rows.slice(middle)))];
}

/** Why these rows cannot be claimed together. */
async function refusal({ chain, config }: AdapterDeps, rows: readonly PlannedRow[]): Promise<string | undefined> {
  const { receiverAuthorizer: account } = rows[0]!.config;
  const gas = rows.some(runsPayersCode) ? CONTRACT_WALLET_GAS : undefined;
  try {
    await readChain(() => chain.client.simulateContract({ account, address: config.sessionChannels, abi, functionName: "claim", args: [rows.map(voucherClaim)], gas }));
    return undefined;
  } catch (error) {
    if (isRevert(error)) return revertName(error) ?? "Reverted";
    throw error;
  }
}

export const runsPayersCode = ({ config }: PlannedRow) => isAddressEqual(config.payerAuthorizer, zeroAddress);

/** The call that claims a batch and pays these receivers, for anybody to send. */
export async function claimCall(deps: AdapterDeps, batch: Batch, payees: readonly Payee[]): Promise<Hex> {
  if (batch.form === "plain" && deps.config.settlementMode === "tallystick" && paysAll(batch, payees)) return plainCall(deps, batch, "claimAndSettle");
  const claim = batch.form === "packed" ? await packedCall(deps, batch) : await plainCall(deps, batch, "claimWithSignature");
  return payees.length === 0 ? claim : inOneTransaction([claim, ...payees.map(settleCall)]);
}

/**
 * claimAndSettle pays every receiver of its rows, and a transfer that the token refuses does not undo the claims. It wants 313,000 gas
 * to be left before each transfer, more than is granted where a payer's code runs.
 */
const paysAll = ({ groups }: Batch, payees: readonly Payee[]) => new Set(groups.map(payeeKey)).size === payees.length && !groups.some(({ rows }) => rows.some(runsPayersCode));

export function settleCall({ receiver, token }: Payee): Hex {
  return encodeFunctionData({ abi, functionName: "settle", args: [receiver, token] });
}

export function inOneTransaction(calls: Hex[]): Hex {
  return encodeFunctionData({ abi, functionName: "multicall", args: [calls] });
}

const packedRows = (rows: readonly PlannedRow[]) =>
  encodePackedRows(rows.map(({ config, ceiling, totalClaimed, signature }) => ({
    payer: config.payer, payerAuthorizer: config.payerAuthorizer, salt: config.salt, maxClaimableAmount: ceiling, totalClaimed, signature,
  })));

async function packedCall(deps: AdapterDeps, { groups }: Batch): Promise<Hex> {
  return encodeFunctionData({ abi, functionName: "claimPacked", args: [await Promise.all(groups.map((group) => packedGroup(deps, group)))] });
}

async function packedGroup({ config, keyring }: AdapterDeps, { receiver, receiverAuthorizer, token, withdrawDelay, rows, receipts }: Group) {
  const message = { receiver, receiverAuthorizer, token, withdrawDelay, receiptsRoot: receipts?.root ?? zeroHash, rows: packedRows(rows) };
  const authorization = await keyring.signerFor(receiverAuthorizer).signPackedClaim(sessionChannelsDomain(config.chainId, config.sessionChannels), message);
  return { ...message, authorization };
}

async function plainCall({ config, keyring }: AdapterDeps, { groups }: Batch, functionName: "claimWithSignature" | "claimAndSettle"): Promise<Hex> {
  const rows = groups.flatMap((group) => group.rows);
  const entries = rows.map(({ channelId, ceiling, totalClaimed }) => ({ channelId, maxClaimableAmount: ceiling, totalClaimed }));
  const authorization = await keyring.signerFor(groups[0]!.receiverAuthorizer).signClaimBatch(sessionChannelsDomain(config.chainId, config.sessionChannels), entries);
  return encodeFunctionData({ abi, functionName, args: [rows.map(voucherClaim), authorization] });
}

const voucherClaim = ({ config, ceiling, signature, totalClaimed }: PlannedRow) => ({ voucher: { channel: config, maxClaimableAmount: ceiling }, signature, totalClaimed });

/** Which of these the batch can pay in its own transaction; the others' token refuses them. */
export async function payable(deps: AdapterDeps, batch: Batch, payees: readonly Payee[]): Promise<Payee[]> {
  if (payees.length === 0 || (await passes(deps, await claimCall(deps, batch, payees)))) return [...payees];
  if (payees.length === 1) return [];
  const middle = payees.length >> 1;
  return [...(await payable(deps, batch, payees.slice(0, middle))), ...(await payable(deps, batch, payees.slice(middle)))];
}

async function passes({ chain, config, keyring }: AdapterDeps, data: Hex): Promise<boolean> {
  try {
    await readChain(() => chain.client.call({ account: keyring.active, to: config.sessionChannels, data }));
    return true;
  } catch (error) {
    if (isRevert(error)) return false;
    throw error;
  }
}

export type ChainNow = { gasPriceWei: bigint; timestampS: number };

/** What gas costs in the next block, and the chain's clock. */
export async function chainNow({ chain }: Pick<AdapterDeps, "chain">): Promise<ChainNow> {
  const [block, tip] = await readChain(() => Promise.all([chain.client.getBlock({ blockTag: "latest" }), chain.client.estimateMaxPriorityFeePerGas()]));
  return { gasPriceWei: (block.baseFeePerGas ?? 0n) + tip, timestampS: Number(block.timestamp) };
}
