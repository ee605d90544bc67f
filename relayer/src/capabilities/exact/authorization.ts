// Would the token take this authorisation now, and if not, why? Reads only.
import { BaseError, encodeFunctionData, isAddressEqual, parseErc6492Signature, parseSignature, recoverAddress, RpcRequestError, serializeSignature, type Address, type Hex } from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { agreed, isRevert, readChain, revertName, type Chain } from "../../chain/client.ts";
import { ERC1271_MAGIC, erc1271Abi, tokenAbi } from "../../chain/token-abi.ts";
import { isSignedBy } from "../../crypto/secp256k1.ts";
import type { Deps } from "../../deps.ts";
import { plainCall, plainSignature, transferCalldata } from "./calldata.ts";
import { asHex } from "./digest.ts";
import type { Exact } from "./exact.ts";
import { isSpent, MOST_TRANSFER_GAS } from "./probe.ts";
import { EXACT_FAULTS, type Authorization, type ExactFault } from "./types.ts";
import { isUsed } from "./use.ts";

type AuthorizationDeps = Pick<Deps, "chain" | "config" | "now" | "submitter"> & { exact: Pick<Exact, "probe" | "digest" | "signed"> };

/** The block that takes the authorisation must come before validBefore; the stock facilitator keeps the same margin. */
const EXPIRY_MARGIN_S = 6n;
export function exactFault(code: ExactFault, field: string, detail: string, cause?: unknown): TallystickError {
  return new TallystickError({ code, status: 402, retry: "never", field, detail, extra: { x402Error: EXACT_FAULTS[code] }, cause });
}

const AT = "payload.authorization";

/** Atomic units. `mostAheadS`: how far away validBefore may be, seconds. */
export type Wanted = { payTo: Address; amount: bigint; mostAheadS?: number };

/** Checks that need no chain. @throws a payment fault that names the field. */
export function checkAuthorizationTerms({ now }: Pick<Deps, "now">, authorization: Authorization, wanted: Wanted): void {
  if (!isAddressEqual(authorization.to, wanted.payTo)) throw exactFault("authorization_recipient_mismatch", `${AT}.to`, `The authorisation pays ${authorization.to}, the terms say ${wanted.payTo}.`);
  if (authorization.value !== wanted.amount) throw exactFault("authorization_value_mismatch", `${AT}.value`, `The authorisation is for ${authorization.value}, the terms say exactly ${wanted.amount}.`);
  const nowS = BigInt(Math.floor(now().getTime() / 1000));
  if (authorization.validBefore < nowS + EXPIRY_MARGIN_S) throw exactFault("authorization_expired", `${AT}.validBefore`, `The authorisation ends at ${authorization.validBefore}; it is ${nowS} and ${EXPIRY_MARGIN_S} s are needed.`);
  if (wanted.mostAheadS !== undefined && authorization.validBefore > nowS + BigInt(wanted.mostAheadS)) throw exactFault("authorization_too_long", `${AT}.validBefore`, `The authorisation ends at ${authorization.validBefore}, later than ${wanted.mostAheadS} s from now: an answer is not kept for so long.`);
  if (authorization.validAfter > nowS) throw exactFault("authorization_not_yet_valid", `${AT}.validAfter`, `The authorisation starts at ${authorization.validAfter}; it is ${nowS}.`);
}

/** What the chain says of a well-signed authorisation. The balance is the payer's, in atomic units. */
export type Standing = { used: boolean; balance: bigint };

/**
 * Checks the signature and the payer's funds, and tries the very transfer: a token refuses for more reasons than these (a blacklist, a
 * pause, a spelling of the signature), and whoever is found out only after the upstream has run has had work for nothing.
 * @throws a payment fault that names the field, unless it is used; `chain_unavailable` (503).
 */
export async function checkAuthorization(deps: AuthorizationDeps, authorization: Authorization): Promise<Standing> {
  const call = plainCall(authorization);
  if (call === undefined || !(await isSignedByKey(deps, authorization))) return checkOne(deps, authorization);
  const { balance, used, hasCode, passes } = await deps.exact.probe.one(call);
  // An account may become a wallet at any time (EIP-7702), and then its code decides: that, and why a token refuses, is asked for one by one.
  if (hasCode) return checkOne(deps, authorization);
  if (used) return { used, balance };
  if (balance < authorization.value) throw insufficient(authorization, balance);
  return passes ? { used, balance } : checkOne(deps, authorization);
}

/** The same by calls of its own: for contract wallets, and to find out why. */
async function checkOne(deps: AuthorizationDeps, authorization: Authorization): Promise<Standing> {
  const token = { address: deps.config.token.address, abi: tokenAbi } as const;
  const { from, nonce, value } = authorization;
  const [code, balance, used, trial] = await readChain(() =>
    Promise.all([
      deps.chain.client.getCode({ address: from }),
      deps.chain.client.readContract({ ...token, functionName: "balanceOf", args: [from] }),
      deps.chain.client.readContract({ ...token, functionName: "authorizationState", args: [from, nonce] }),
      tryTransfer(deps, authorization),
    ]),
  );
  // A transfer that the token takes is signed well, whoever the payer is; of one that burns the gas of its check nobody can say.
  if (!("gas" in trial) && !trial.expensive) await checkSignature(deps, authorization, (code ?? "0x") !== "0x");
  if (used) return { used, balance };
  if (balance < value) throw insufficient(authorization, balance);
  if ("gas" in trial) return { used, balance };
  // Somebody may have been faster between the two questions.
  if (await isUsed(deps, authorization)) return { used: true, balance };
  if (trial.expensive) throw exactFault("transfer_too_expensive", "payload.signature", `The payer's wallet makes the transfer cost more than the ${MOST_TRANSFER_GAS} gas that is paid for.`);
  throw exactFault("transfer_refused", AT, `The token refuses the transfer: ${trial.refusal}.`);
}

function insufficient({ value }: Authorization, balance: bigint): TallystickError {
  return exactFault("insufficient_funds", `${AT}.value`, `The payer holds ${balance}, the payment is ${value}.`);
}

/**
 * Is it the payer's at all? For one that we know already, whose money may have moved by now: the payer's own key says so even where the
 * account has become a wallet since. @throws as checkAuthorization.
 */
export async function checkSigned(deps: AuthorizationDeps, authorization: Authorization): Promise<void> {
  if (!(await isSignedByKey(deps, authorization))) await checkSignature(deps, authorization, await hasCode(deps.chain, authorization.from));
}

/** By the payer's own key: the word that counts while the account has no code. */
export async function isSignedByKey({ exact }: AuthorizationDeps, authorization: Authorization): Promise<boolean> {
  const parts = plainSignature(authorization.signature);
  if (parts === undefined) return false;
  const digest = exact.digest(authorization);
  const signature: Hex = `${parts.r}${parts.s.slice(2)}${parts.v.toString(16)}` as Hex;
  // What a key has signed stays signed: a server that verifies and then settles shows the same twice.
  const key = `${asHex(digest)}${signature}${authorization.from}`;
  if (exact.signed.get(key) === true) return true;
  const isSigned = await isSignedBy(digest, signature, authorization.from);
  if (isSigned) exact.signed.set(key, true);
  return isSigned;
}

type Trial = { gas: bigint } | { expensive: boolean; refusal: string };

/** On no more gas than is paid for: what burns more would only keep the node busy. */
async function tryTransfer({ chain, config, exact, submitter }: AuthorizationDeps, authorization: Authorization): Promise<Trial> {
  const data = transferCalldata(authorization);
  const { passes, gas } = await exact.probe.single(Buffer.from(data.slice(2), "hex"));
  if (passes) return { gas };
  if (isSpent(gas)) return { expensive: true, refusal: "it needs more gas" };
  try {
    await chain.client.call({ account: submitter.address, to: config.token.address, data, gas: 2n * MOST_TRANSFER_GAS });
    return { expensive: false, refusal: "no longer" };
  } catch (error) {
    if (isRevert(error)) return { expensive: false, refusal: revertName(error) ?? "no reason given" };
    throw error;
  }
}

/** True for contract wallets, whose word at one moment says nothing of the next. */
export async function hasCode(chain: Chain, address: Address): Promise<boolean> {
  return agreed(chain, async (client) => ((await client.getCode({ address })) ?? "0x") !== "0x");
}

async function checkSignature(deps: AuthorizationDeps, authorization: Authorization, payerHasCode: boolean): Promise<void> {
  const invalid = (cause?: unknown) => exactFault("authorization_signature_invalid", "payload.signature", `The signature is not one of ${authorization.from} over this authorisation.`, cause);
  const digest = asHex(deps.exact.digest(authorization));
  if (payerHasCode) {
    if (!(await walletAccepts(deps, authorization, digest))) throw invalid();
    return;
  }
  if (isWrapped(authorization.signature)) throw exactFault("wallet_not_deployed", "payload.signature", `The payer ${authorization.from} is not deployed yet, and this relayer deploys no wallets.`);
  try {
    const signer = await recoverAddress({ hash: digest, signature: serializeSignature(parseSignature(authorization.signature)) });
    if (!isAddressEqual(signer, authorization.from)) throw invalid();
  } catch (error) {
    throw error instanceof TallystickError ? error : invalid(error);
  }
}

function isWrapped(signature: Hex): boolean {
  try {
    return parseErc6492Signature(signature).address !== undefined;
  } catch {
    return false; // no sensible signature: the check that follows says so
  }
}

async function walletAccepts({ chain }: AuthorizationDeps, { from, signature }: Authorization, digest: Hex): Promise<boolean> {
  try {
    const { data = "0x" } = await chain.client.call({ to: from, data: encodeFunctionData({ abi: erc1271Abi, args: [digest, signature] }), gas: MOST_TRANSFER_GAS });
    return data.length === 66 && data.startsWith(ERC1271_MAGIC);
  } catch (error) {
    if (isRevert(error) || isOutOfGas(error)) return false;
    return readChain(() => Promise.reject(error));
  }
}

/** Nodes have no code of their own for it. */
function isOutOfGas(error: unknown): boolean {
  return error instanceof BaseError && error.walk((cause) => cause instanceof RpcRequestError && /out of gas/i.test(cause.details)) !== null;
}
