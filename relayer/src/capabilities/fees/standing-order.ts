// A provider's standing order: vouchers left with the relayer, from which it pays the provider's invoices as they are issued. A voucher
// pays one invoice, through the same rail as a payment over HTTP; the highest one is the most that can ever be taken from its channel.
import { isAddressEqual, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Deps } from "../../deps.ts";
import { newPaymentId } from "../../payment-id.ts";
import { EVENT } from "../../telemetry/log.ts";
import type { GatewayDeps } from "../gateway/rail.ts";
import { toConfig, type Envelope } from "../gateway/schemas.ts";
import { checkConfig, sessionTerms } from "../gateway/terms.ts";
import { feeService, payInvoice } from "./invoices.ts";
import * as store from "./invoice-store.ts";
import type { Invoice } from "./logic.ts";
import type { WireAuthorization } from "./schemas.ts";

/** Vouchers shown of a provider; it may leave fewer. */
const SHOWN = 1_000;
/** Invoices paid in one pass. */
const PASS = 100;

/**
 * Takes in vouchers of the caller's own channel to the relayer.
 * @throws TallystickError 400 `channel_not_yours`, `voucher_malformed`; 402 a channel or a signature that does not fit, with its field.
 */
export async function authorize(deps: GatewayDeps, caller: Address, { channelConfig, vouchers }: WireAuthorization): Promise<store.VoucherState[]> {
  const config = toConfig(channelConfig as Parameters<typeof toConfig>[0]);
  // Vouchers become public when they are claimed: another's must not pay this one's invoices.
  if (!isAddressEqual(config.payer, caller) && !isAddressEqual(config.payerAuthorizer, caller)) throw malformed("channel_not_yours", "channelConfig.payer", `You are signed in as ${caller}; the channel is ${config.payer}'s.`);
  checkConfig(config, sessionTerms(deps.config, feeService(deps, 1n), deps.keyring.active, newPaymentId()), deps.keyring.has(config.receiverAuthorizer));
  const channelId = deps.hasher.channelId(config);
  const checked: store.StoredVoucher[] = [];
  for (const [at, voucher] of vouchers.entries()) {
    const ceiling = BigInt(voucher.maxClaimableAmount);
    const field = `vouchers.${at}`;
    if (voucher.channelId.toLowerCase() !== channelId) throw malformed("voucher_malformed", `${field}.channelId`, `The channel is ${channelId}.`);
    const signer = await deps.hasher.voucherSigner(channelId, ceiling, voucher.signature as Hex);
    if (signer !== config.payerAuthorizer) throw malformed("voucher_malformed", `${field}.signature`, `It is not ${config.payerAuthorizer}'s signature of this voucher.`);
    checked.push({ receiver: caller, channelId, ceiling, channelConfig: channelConfig as Record<string, unknown>, signature: voucher.signature as Hex });
  }
  await store.keepVouchers(deps.db, checked);
  return store.vouchersOf(deps.db, caller, SHOWN);
}

export const authorization = ({ db }: Pick<Deps, "db">, caller: Address): Promise<store.VoucherState[]> => store.vouchersOf(db, caller, SHOWN);

/** Forgets the vouchers that paid nothing. @returns how many. */
export const revoke = ({ db }: Pick<Deps, "db">, caller: Address): Promise<number> => store.dropVouchers(db, caller);

/** Pays what is open from vouchers; whatever one of them does not do, the next invoice goes on. */
export async function payFromVouchers(deps: GatewayDeps): Promise<void> {
  for (const invoice of await store.payableFromVouchers(deps.db, PASS)) await payOne(deps, invoice);
}

async function payOne(deps: GatewayDeps, invoice: Invoice): Promise<void> {
  for (const voucher of await store.coveringVouchers(deps.db, invoice.receiver, invoice.fee)) {
    try {
      const sale = await payInvoice(deps, invoice, paymentOf(deps, invoice, voucher), { contentType: "", body: Buffer.alloc(0) });
      deps.log.info({ event: EVENT.invoicePaid, invoiceId: invoice.invoiceId, paymentId: sale.paymentId, standingOrder: true }, "paid by standing order");
      return;
    } catch (error) {
      if (!(error instanceof TallystickError)) throw error;
      deps.log.warn({ event: EVENT.failure, where: "standing_order", invoiceId: invoice.invoiceId, code: error.code, field: error.field }, error.message);
      // Another payment of it stands, or we cannot serve now: other vouchers would not change that.
      if (error.status !== 402) return;
    }
  }
}

function paymentOf(deps: GatewayDeps, invoice: Invoice, { channelConfig, channelId, ceiling, signature }: store.StoredVoucher): { envelope: Envelope; paymentId: string } {
  const paymentId = newPaymentId();
  const accepted = sessionTerms(deps.config, feeService(deps, invoice.fee, invoice.token), deps.keyring.active, paymentId);
  const payload = { type: "voucher", channelConfig, voucher: { channelId, maxClaimableAmount: ceiling.toString(), signature } };
  return { envelope: { x402Version: 2, accepted, payload } as Envelope, paymentId };
}

function malformed(code: string, field: string, detail: string): TallystickError {
  return new TallystickError({ code, status: 400, retry: "never", field, detail });
}
