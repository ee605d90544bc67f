// All that was signed for a negotiated session, as one file: whoever has it can check, offline and trusting nobody, that nothing was charged above
// what was agreed. The channel's config hashes to the id that receipts name, so it says who may sign them and who signs vouchers.
import { getAddress, isAddress, isAddressEqual, isHex, recoverTypedDataAddress, zeroAddress, zeroHash, type Address, type Hex } from "viem";
import { TallystickError } from "../errors.ts";
import type { SignedReceipt } from "../receipt.ts";
import { channelIdOf, sessionChannelsDomain, voucherTypes, type ChannelConfig } from "../typed-data.ts";
import { sessionFaults, type Agreement, type Fault } from "./check.ts";
import { fromWire, negotiationDomain, toWire, type SignedMessage } from "./messages.ts";

/** Amounts are decimal strings of atomic units, cumulative. */
export type SignedVoucher = { channelId: Hex; maxClaimableAmount: string; signature: Hex };
export type SessionFile = {
  chainId: number;
  sessionChannels: Address;
  offer: SignedMessage;
  /** Where the offer names one. */
  policy?: SignedMessage;
  acceptance: SignedMessage;
  channelConfig: ChannelConfig;
  vouchers: SignedVoucher[];
  receipts: SignedReceipt[];
};

export function sessionFileOf(chainId: number, sessionChannels: Address, { offer, policy, acceptance }: Agreement, paid: Pick<SessionFile, "channelConfig" | "vouchers" | "receipts">): SessionFile {
  return { chainId, sessionChannels, offer: toWire("Offer", offer), ...(policy === undefined ? {} : { policy: toWire("PricePolicy", policy) }), acceptance: toWire("Acceptance", acceptance), ...paid };
}

/** @throws TallystickError `negotiation_malformed` that names the field. */
export function agreementOf({ offer, policy, acceptance }: SessionFile): Agreement {
  return { offer: fromWire("Offer", offer), policy: policy === undefined ? undefined : fromWire("PricePolicy", policy), acceptance: fromWire("Acceptance", acceptance) };
}

/** Everything that is wrong with a session: what was agreed, each receipt, their sum, and the vouchers behind them. */
export async function sessionFileFaults(file: SessionFile): Promise<Fault[]> {
  const { chainId, sessionChannels, channelConfig, receipts } = file;
  const agreement = agreementOf(file);
  const faults = await sessionFaults(negotiationDomain(chainId, sessionChannels), agreement, receipts, channelConfig.receiverAuthorizer);
  return [...faults, ...domainFaults(file), ...(await voucherFaults(file, agreement.offer.message.agent))];
}

function domainFaults({ chainId, sessionChannels, receipts }: SessionFile): Fault[] {
  return receipts.filter(({ domain }) => Number(domain.chainId) !== chainId || !isAddressEqual(domain.verifyingContract, sessionChannels))
    .map(({ payload }) => ({ code: "receipt_domain", detail: "It is of another chain or contract.", paymentId: payload.paymentId }));
}

/** The vouchers are the payer's, on the channel that receipts name, and the highest of them covers all that receipts say was charged. */
export async function voucherFaults({ chainId, sessionChannels, channelConfig: config, vouchers, receipts }: SessionFile, agent: Address): Promise<Fault[]> {
  const domain = sessionChannelsDomain(chainId, sessionChannels);
  const channelId = channelIdOf(domain, config);
  const faults: Fault[] = [];
  for (const { payload } of receipts) if (payload.channelId.toLowerCase() !== channelId) faults.push({ code: "receipt_channel", detail: `It names channel ${payload.channelId}, the config is of ${channelId}.`, paymentId: payload.paymentId });
  // Under a mandate the channel is its principal's.
  const own = [config.payer, config.payerAuthorizer].some((party) => isAddressEqual(party, agent));
  if (!own && receipts.some(({ payload }) => (payload.mandate ?? zeroHash) === zeroHash)) faults.push({ code: "voucher_payer", detail: `The channel is paid by ${config.payer}, the offer is for ${agent}.` });
  let ceiling = 0n;
  for (const { channelId: of, maxClaimableAmount, signature } of vouchers) {
    const most = BigInt(maxClaimableAmount);
    const signer = await recoverTypedDataAddress({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId, maxClaimableAmount: most }, signature }).catch((): Address => zeroAddress);
    if (of.toLowerCase() !== channelId) faults.push({ code: "voucher_channel", detail: `A voucher is of channel ${of}.` });
    else if (isAddressEqual(signer, zeroAddress) || !isAddressEqual(signer, config.payerAuthorizer)) faults.push({ code: "voucher_signature", detail: `The voucher for ${most} is not signed by ${config.payerAuthorizer}.` });
    else if (most > ceiling) ceiling = most;
  }
  const charged = receipts.reduce((top, { payload }) => (BigInt(payload.cumulative) > top ? BigInt(payload.cumulative) : top), 0n);
  if (charged > ceiling) faults.push({ code: "voucher_below_charged", detail: `Receipts come to ${charged} on the channel, vouchers are signed for ${ceiling}.` });
  return faults;
}

/** Reads what somebody wrote. @throws TallystickError `session_malformed` that names the field. */
export function readSessionFile(value: unknown): SessionFile {
  const file = objectOf(value, "session");
  const { chainId, sessionChannels } = file;
  if (!Number.isSafeInteger(chainId)) throw malformed("chainId");
  const config = objectOf(file["channelConfig"], "channelConfig");
  const [offer, acceptance] = [signedIn(file["offer"], "offer"), signedIn(file["acceptance"], "acceptance")];
  return {
    chainId: chainId as number, sessionChannels: addressOf(sessionChannels, "sessionChannels"), offer, acceptance, ...(file["policy"] === undefined ? {} : { policy: signedIn(file["policy"], "policy") }),
    channelConfig: configOf(config), vouchers: listOf(file["vouchers"], "vouchers").map(voucherOf), receipts: listOf(file["receipts"], "receipts") as SignedReceipt[],
  };
}

const malformed = (field: string): TallystickError => new TallystickError({ code: "session_malformed", status: 400, retry: "never", field, detail: `A session's file: ${field} is not what it should be.` });

function objectOf(value: unknown, field: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw malformed(field);
}
function listOf(value: unknown, field: string): unknown[] {
  if (Array.isArray(value)) return value;
  throw malformed(field);
}
function addressOf(value: unknown, field: string): Address {
  if (typeof value === "string" && isAddress(value, { strict: false })) return getAddress(value);
  throw malformed(field);
}
function hexOf(value: unknown, field: string, bytes: number): Hex {
  if (isHex(value) && value.length === 2 + 2 * bytes) return value.toLowerCase() as Hex;
  throw malformed(field);
}
function signedIn(value: unknown, field: string): SignedMessage {
  const { message, signature } = objectOf(value, field);
  if (!isHex(signature)) throw malformed(`${field}.signature`);
  return { message: objectOf(message, `${field}.message`), signature };
}
function voucherOf(value: unknown): SignedVoucher {
  const { channelId, maxClaimableAmount, signature } = objectOf(value, "vouchers");
  if (typeof maxClaimableAmount !== "string" || !/^\d{1,39}$/.test(maxClaimableAmount) || !isHex(signature)) throw malformed("vouchers");
  return { channelId: hexOf(channelId, "vouchers", 32), maxClaimableAmount, signature };
}
function configOf(config: Record<string, unknown>): ChannelConfig {
  const address = (name: string) => addressOf(config[name], `channelConfig.${name}`);
  const { withdrawDelay, salt } = config;
  if (!Number.isSafeInteger(withdrawDelay) || (withdrawDelay as number) < 0) throw malformed("channelConfig.withdrawDelay");
  return {
    payer: address("payer"), payerAuthorizer: address("payerAuthorizer"), receiver: address("receiver"), receiverAuthorizer: address("receiverAuthorizer"), token: address("token"),
    withdrawDelay: withdrawDelay as number, salt: hexOf(salt, "channelConfig.salt", 32),
  };
}
