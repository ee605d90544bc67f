// What a transfer has to be to pay for a request. Pure.
import { encodeAbiParameters, formatUnits, isAddress, isAddressEqual, keccak256, parseEventLogs, parseAbi, parseUnits, type Address, type Hex, type Log } from "viem";
import { BASE } from "../../../../sdk/src/constants.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import type { Submit } from "./schemas.ts";
import type { Mined, PayRequest, Transfer } from "./types.ts";

const abi = parseAbi(["event Transfer(address indexed from, address indexed to, uint256 value)", "event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce)"]);

/** How much older than its request a transfer may be, by the chain's clock, seconds: clocks differ. */
const CLOCK_SKEW_S = 60n;

/** From that amount on, that many blocks. */
export type ConfirmationStep = { fromAtomic: bigint; depth: number };

export function confirmationsFor(steps: readonly ConfirmationStep[], amount: bigint): number {
  return Math.max(...steps.filter(({ fromAtomic }) => amount >= fromAtomic).map(({ depth }) => depth));
}

export const usdc = (amount: bigint): string => formatUnits(amount, BASE.usdc.decimals);

/** What the sender signs. Its request id is random, so the text is good for one request of one relayer. */
export function messageFor({ requestId, service, price, token, receiver }: Pick<PayRequest, "requestId" | "service" | "price" | "token" | "receiver">, network: string): string {
  return [`Tallystick: my transfer pays for request ${requestId}.`, `Service: ${service}`, `Amount: ${price} of ${token} to ${receiver}`, `Network: ${network}`].join("\n");
}

/** Makes (chain, transaction, log) count once. */
export function transferKey(chainId: number, txHash: Hex, position: number): Hex {
  return keccak256(encodeAbiParameters([{ type: "uint256" }, { type: "bytes32" }, { type: "uint256" }], [BigInt(chainId), txHash, BigInt(position)]));
}

export function paymentFault(code: string, field: string, detail: string, extra: Record<string, unknown> = {}): TallystickError {
  return new TallystickError({ code, status: 402, retry: "never", field, detail, extra: { x402Error: code, ...extra } });
}

/** @throws 409 `decision_mismatch` naming the first field that says something else than what is stored. */
export function checkDecisions(said: Submit, request: PayRequest, chain: { chainId: number; network: string }): void {
  const amount = (text: string) => parseUnits(text, BASE.usdc.decimals) === request.price;
  const address = (stored: Address) => (text: string) => isAddress(text, { strict: false }) && isAddressEqual(text, stored);
  const is = (stored: unknown) => (text: unknown) => text === stored;
  const rules: { [Field in keyof Submit]?: [(value: never) => boolean, string] } = {
    expectedAmountUsdc: [amount, usdc(request.price)],
    amountUsdc: [amount, usdc(request.price)],
    amountAtomic: [(text: string) => BigInt(text) === request.price, String(request.price)],
    providerId: [is(request.service), request.service],
    recipient: [address(request.receiver), request.receiver],
    token: [address(request.token), request.token],
    chainId: [is(chain.chainId), String(chain.chainId)],
    network: [is(chain.network), chain.network],
  };
  for (const [field, [matches, stored]] of Object.entries(rules)) {
    const value = said[field as keyof Submit];
    if (value === undefined || matches(value as never)) continue;
    throw new TallystickError({ code: "decision_mismatch", status: 409, retry: "never", field, detail: `${field} is ${value}, request ${request.requestId} says ${stored}.`, extra: { stored, given: String(value) } });
  }
}

/** The transfers of a transaction, in order. */
export function transfersIn({ logs }: Pick<Mined, "logs">): Transfer[] {
  return logs.flatMap((log, position) => {
    const [event] = parseEventLogs({ abi, eventName: "Transfer", logs: [log as unknown as Log] });
    return event === undefined ? [] : [{ ...event.args, token: event.address, position, logIndex: log.logIndex }];
  });
}

/**
 * The one transfer that pays for the request.
 * @throws 402 that says what the transaction did instead; 409 `log_index_needed`.
 */
export function pickTransfer(mined: Mined, { price, receiver, token }: Pick<PayRequest, "price" | "receiver" | "token">, logIndex: number | undefined): Transfer {
  if (!mined.success) throw paymentFault("transaction_reverted", "txHash", "The transaction failed; it moved nothing.");
  const named = transfersIn(mined).filter((transfer) => logIndex === undefined || transfer.logIndex === logIndex);
  const ofToken = named.filter((transfer) => isAddressEqual(transfer.token, token));
  const paid = ofToken.filter(({ to }) => isAddressEqual(to, receiver));
  const [match, another] = paid.filter(({ value }) => value === price);
  if (another !== undefined) {
    throw new TallystickError({ code: "log_index_needed", status: 409, retry: "never", field: "logIndex", detail: "Several transfers of this transaction would do; name one by its logIndex.", extra: { logIndexes: paid.filter(({ value }) => value === price).map((each) => each.logIndex) } });
  }
  if (match !== undefined) return match;
  const [other] = paid;
  if (other !== undefined) {
    throw paymentFault("amount_mismatch", "expectedAmountUsdc", `The transfer is of ${usdc(other.value)} USDC, the request costs exactly ${usdc(price)}.`, { expectedAmountUsdc: usdc(price), paidAmountUsdc: usdc(other.value) });
  }
  const [elsewhere] = ofToken;
  if (elsewhere !== undefined) throw paymentFault("recipient_mismatch", "recipient", `The transfer went to ${elsewhere.to}, the request says ${receiver}.`);
  const [foreign] = named;
  if (foreign !== undefined) throw paymentFault("token_mismatch", "token", `The transfer is of token ${foreign.token}, the request says ${token}.`);
  throw paymentFault("transfer_missing", logIndex === undefined ? "txHash" : "logIndex", "There is no transfer in this transaction, or not at this logIndex.");
}

/** Transfers that are, or may be, the payment for something else. @throws 402. */
export function checkUnspent(mined: Mined, { from, token }: Transfer, sessionChannels: Address): void {
  if (isAddressEqual(from, sessionChannels)) throw paymentFault("payout_not_payment", "txHash", "This is a payout of SessionChannels: it was paid for other calls.");
  // An x402 payment of scheme exact; whoever asked for it has delivered, or will.
  const used = parseEventLogs({ abi, eventName: "AuthorizationUsed", logs: mined.logs as unknown as Log[] });
  if (used.some((log) => isAddressEqual(log.address, token) && isAddressEqual(log.args.authorizer, from))) {
    throw paymentFault("authorization_transfer", "txHash", "This transfer was made by a signed authorisation, which pays for something else; send a plain transfer.");
  }
}

/** @param blockTimeS of the block that has the transfer, unix seconds. @throws 402 `transfer_too_old`. */
export function checkAge(blockTimeS: bigint, { createdAt, requestId }: Pick<PayRequest, "createdAt" | "requestId">): void {
  const createdS = BigInt(Math.floor(createdAt.getTime() / 1000));
  if (blockTimeS + CLOCK_SKEW_S >= createdS) return;
  throw paymentFault("transfer_too_old", "txHash", `The transfer is of ${blockTimeS}, request ${requestId} of ${createdS}: it cannot have been made for it.`);
}
