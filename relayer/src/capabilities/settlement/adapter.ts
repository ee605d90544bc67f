// How a batch becomes calldata: packed for our contract, plain for the published one. Bad rows are set apart before
// anything is sent, where the contract would not do that itself.
import { encodeFunctionData, zeroHash, type Hex } from "viem";
import { sessionChannelsAbi as abi } from "../../../../sdk/src/abi/session-channels.ts";
import { encodePackedRows } from "../../../../sdk/src/packed-claim.ts";
import { sessionChannelsDomain } from "../../../../sdk/src/typed-data.ts";
import { isRevert, readChain, revertName } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import type { Batch, PlannedRow } from "./logic.ts";
import type { Payee } from "./payout-store.ts";

export type AdapterDeps = Pick<Deps, "chain" | "config" | "keyring">;
export type Poisoned = { row: PlannedRow; reason: string };
/** A batch without its bad rows, and the call that claims it; no call when nothing is left. */
export type PreparedClaim = { batch: Batch; call: Hex | undefined; poisoned: Poisoned[] };

export async function prepareClaim(deps: AdapterDeps, batch: Batch): Promise<PreparedClaim> {
  const { good, poisoned } = batch.form === "packed" ? splitEncodable(batch.rows) : await splitBySimulation(deps, batch.rows);
  const clean = { ...batch, rows: good };
  if (good.length === 0) return { batch: clean, call: undefined, poisoned };
  return { batch: clean, call: batch.form === "packed" ? await packedCall(deps, clean) : await plainCall(deps, clean), poisoned };
}

export function settleCall({ receiver, token }: Payee): Hex {
  return encodeFunctionData({ abi, functionName: "settle", args: [receiver, token] });
}

export function inOneTransaction(calls: Hex[]): Hex {
  return encodeFunctionData({ abi, functionName: "multicall", args: [calls] });
}

/** claimPacked skips bad rows on chain; only a signature that has no packed form must stay out. */
function splitEncodable(rows: readonly PlannedRow[]): { good: PlannedRow[]; poisoned: Poisoned[] } {
  const good: PlannedRow[] = [];
  const poisoned: Poisoned[] = [];
  for (const row of rows) {
    try {
      packedRows([row]);
      good.push(row);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      poisoned.push({ row, reason: "InvalidSignature" });
    }
  }
  return { good, poisoned };
}

const packedRows = (rows: readonly PlannedRow[]) =>
  encodePackedRows(rows.map(({ config, ceiling, totalClaimed, signature }) => ({
    payer: config.payer, payerAuthorizer: config.payerAuthorizer, salt: config.salt, maxClaimableAmount: ceiling, totalClaimed, signature,
  })));

async function packedCall({ config, keyring }: AdapterDeps, { receiver, receiverAuthorizer, token, withdrawDelay, rows }: Batch): Promise<Hex> {
  const message = { receiver, receiverAuthorizer, token, withdrawDelay, receiptsRoot: zeroHash, rows: packedRows(rows) };
  const domain = sessionChannelsDomain(config.chainId, config.sessionChannels);
  const authorization = await keyring.signerFor(receiverAuthorizer).signPackedClaim(domain, message);
  return encodeFunctionData({ abi, functionName: "claimPacked", args: [[{ ...message, authorization }]] });
}

async function plainCall({ config, keyring }: AdapterDeps, { receiverAuthorizer, rows }: Batch): Promise<Hex> {
  const domain = sessionChannelsDomain(config.chainId, config.sessionChannels);
  const entries = rows.map(({ channelId, ceiling, totalClaimed }) => ({ channelId, maxClaimableAmount: ceiling, totalClaimed }));
  const authorization = await keyring.signerFor(receiverAuthorizer).signClaimBatch(domain, entries);
  return encodeFunctionData({ abi, functionName: "claimWithSignature", args: [rows.map(voucherClaim), authorization] });
}

const voucherClaim = ({ config, ceiling, signature, totalClaimed }: PlannedRow) => ({ voucher: { channel: config, maxClaimableAmount: ceiling }, signature, totalClaimed });

/** The published claim reverts as a whole, so bad rows are found by halving: n log2(rows) calls for n of them. */
async function splitBySimulation(deps: AdapterDeps, rows: readonly PlannedRow[]): Promise<{ good: PlannedRow[]; poisoned: Poisoned[] }> {
  const reason = await refusal(deps, rows);
  if (reason === undefined) return { good: [...rows], poisoned: [] };
  if (rows.length === 1) return { good: [], poisoned: [{ row: rows[0]!, reason }] };
  const middle = rows.length >> 1;
  const left = await splitBySimulation(deps, rows.slice(0, middle));
  const right = await splitBySimulation(deps, rows.slice(middle));
  return { good: [...left.good, ...right.good], poisoned: [...left.poisoned, ...right.poisoned] };
}

/** Why these rows cannot be claimed together; asked in the authorizer's name, so that nothing has to be signed for it. */
async function refusal({ chain, config }: AdapterDeps, rows: readonly PlannedRow[]): Promise<string | undefined> {
  try {
    await readChain(() =>
      chain.client.simulateContract({ account: rows[0]!.config.receiverAuthorizer, address: config.sessionChannels, abi, functionName: "claim", args: [rows.map(voucherClaim)] }),
    );
    return undefined;
  } catch (error) {
    if (isRevert(error)) return revertName(error) ?? "Reverted";
    throw error;
  }
}
