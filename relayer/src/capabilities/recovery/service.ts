// After the ledger lost commits: what its receivers have on file (sdk: provider/voucher-export.ts) says how much was charged, and the payers'
// signatures prove it.
import { isAddressEqual, zeroAddress, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { readVoucherLine, verifyVoucherLine, type VoucherLine } from "../../../../sdk/src/provider/voucher-line.ts";
import { salesStopped } from "../../db/continuity.ts";
import { EVENT } from "../../telemetry/log.ts";
import { findOrTakeIn, type ChannelDeps } from "../channels/service.ts";
import { raiseCharged } from "./store.ts";

export type Imported = { raised: number; known: number; refused: { channelId: string; code: string; detail: string }[] };

/**
 * Raises what is charged to what these lines prove; lines that are no good are told, and the others go on. Only while sales are stopped:
 * at any other time the ledger knows better.
 * @throws TallystickError `ledger_whole` (409).
 */
export async function importVouchers(deps: ChannelDeps, receiver: Address, lines: readonly unknown[]): Promise<Imported> {
  if ((await salesStopped(deps.db)) === undefined) {
    throw new TallystickError({ code: "ledger_whole", status: 409, retry: "never", detail: "The ledger has lost nothing that it knows of: its own books stand." });
  }
  const imported: Imported = { raised: 0, known: 0, refused: [] };
  for (const value of lines) {
    try {
      const line = readVoucherLine(value);
      if (await importOne(deps, receiver, line)) imported.raised += 1;
      else imported.known += 1;
    } catch (error) {
      if (!(error instanceof TallystickError) || error.status === 503) throw error;
      imported.refused.push({ channelId: String((value as { channelId?: unknown } | null)?.channelId ?? ""), code: error.code, detail: error.message });
    }
  }
  deps.log.warn({ event: EVENT.vouchersImported, receiver, raised: imported.raised, known: imported.known, refused: imported.refused.length }, "vouchers put back by their receiver");
  return imported;
}

async function importOne(deps: ChannelDeps, receiver: Address, line: VoucherLine): Promise<boolean> {
  await verifyVoucherLine(line, { receiver, contract: deps.config.sessionChannels, chainId: deps.config.chainId });
  const { channelConfig, channelId, signature } = line;
  if (isAddressEqual(channelConfig.payerAuthorizer, zeroAddress) || !deps.keyring.has(channelConfig.receiverAuthorizer)) {
    throw new TallystickError({ code: "receiver_authorizer_mismatch", status: 422, retry: "never", field: "channelConfig.receiverAuthorizer", detail: `${channelConfig.receiverAuthorizer} is not a key of this relayer: it never charged channel ${channelId}.` });
  }
  await findOrTakeIn(deps, channelConfig, channelId as Hex);
  return raiseCharged(deps.db, { channelId, charged: BigInt(line.totalCharged), ceiling: BigInt(line.maxClaimableAmount), signature });
}
