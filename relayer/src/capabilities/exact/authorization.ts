// Would the token take this authorisation now, and if not, why? And what became of one that was used. Reads only.
import {
  encodeFunctionData, getAddress, hashTypedData, isAddressEqual, parseAbi, parseErc6492Signature, parseEventLogs, parseSignature, recoverAddress, serializeSignature, size,
  type Address, type Hex, type TransactionReceipt,
} from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { transferWithAuthorizationTypes } from "../../../../sdk/src/typed-data.ts";
import { agreed, chainUnavailable, headOf, isRevert, readChain, revertName, type Chain } from "../../chain/client.ts";
import { ERC1271_MAGIC, erc1271Abi, tokenAbi } from "../../chain/token-abi.ts";
import type { Deps } from "../../deps.ts";
import { EXACT_FAULTS, type Authorization, type ExactFault } from "./types.ts";

type AuthorizationDeps = Pick<Deps, "chain" | "config" | "now" | "submitter">;

const transferAbi = parseAbi([
  "function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)",
  "event Transfer(address indexed from, address indexed to, uint256 value)",
]);
/** USDC 2.2: contract wallets. */
const transferBytesAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)"]);

/** The block that takes the authorisation must come before validBefore; the stock facilitator keeps the same margin. */
const EXPIRY_MARGIN_S = 6n;
/** Blocks asked for at once when the log of a used authorisation is looked for: what nodes allow, an hour on Base. */
const LOG_PAGE_BLOCKS = 2_000n;
/** How many such pages are read, the newest first: longer than authorisations live. */
const LOG_PAGES = 26;
/** A transfer takes some 70k; this leaves room for wallets that check passkeys, and none for those that burn what others pay. */
export const MOST_TRANSFER_GAS = 500_000n;

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
  await checkSignature(deps, authorization, (code ?? "0x") !== "0x");
  if (used) return { used, balance };
  if (balance < value) throw exactFault("insufficient_funds", `${AT}.value`, `The payer holds ${balance}, the payment is ${value}.`);
  // Somebody may have been faster between the two questions.
  if ("refusal" in trial && (await isUsed(deps, authorization))) return { used: true, balance };
  if ("refusal" in trial) throw exactFault("transfer_refused", AT, `The token refuses the transfer: ${trial.refusal}.`);
  if (trial.gas > MOST_TRANSFER_GAS) throw exactFault("transfer_too_expensive", "payload.signature", `The payer's wallet makes the transfer cost ${trial.gas} gas; at most ${MOST_TRANSFER_GAS} is paid for.`);
  return { used, balance };
}

/** Is it the payer's at all? For one that we know already, whose money may have moved by now. @throws as checkAuthorization. */
export async function checkSigned(deps: AuthorizationDeps, authorization: Authorization): Promise<void> {
  await checkSignature(deps, authorization, await hasCode(deps.chain, authorization.from));
}

async function tryTransfer({ chain, config, submitter }: AuthorizationDeps, authorization: Authorization): Promise<{ gas: bigint } | { refusal: string }> {
  try {
    return { gas: await chain.client.estimateGas({ account: submitter.address, to: config.token.address, data: transferCalldata(authorization), blockTag: "latest" }) };
  } catch (error) {
    if (isRevert(error)) return { refusal: revertName(error) ?? "no reason given" };
    throw error;
  }
}

/** True for contract wallets, whose word at one moment says nothing of the next. */
export async function hasCode(chain: Chain, address: Address): Promise<boolean> {
  return agreed(chain, async (client) => ((await client.getCode({ address })) ?? "0x") !== "0x");
}

async function checkSignature(deps: AuthorizationDeps, authorization: Authorization, payerHasCode: boolean): Promise<void> {
  const invalid = (cause?: unknown) => exactFault("authorization_signature_invalid", "payload.signature", `The signature is not one of ${authorization.from} over this authorisation.`, cause);
  const digest = digestOf(deps, authorization);
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
    return (await chain.client.readContract({ address: from, abi: erc1271Abi, functionName: "isValidSignature", args: [digest, signature] })) === ERC1271_MAGIC;
  } catch (error) {
    if (isRevert(error) || (error as { name?: string }).name === "ContractFunctionExecutionError") return false;
    return readChain(() => Promise.reject(error));
  }
}

function digestOf({ config }: Pick<Deps, "config">, { from, to, value, validAfter, validBefore, nonce }: Authorization): Hex {
  return hashTypedData({
    domain: { name: config.token.name, version: config.token.version, chainId: config.chainId, verifyingContract: config.token.address },
    types: transferWithAuthorizationTypes, primaryType: "TransferWithAuthorization", message: { from, to, value, validAfter, validBefore, nonce },
  });
}

export function transferCalldata({ from, to, value, validAfter, validBefore, nonce, signature }: Authorization): Hex {
  const common = [from, to, value, validAfter, validBefore, nonce] as const;
  const plain = plainSignature(signature);
  if (plain === undefined) return encodeFunctionData({ abi: transferBytesAbi, args: [...common, signature] });
  return encodeFunctionData({ abi: transferAbi, functionName: "transferWithAuthorization", args: [...common, plain.v, plain.r, plain.s] });
}

/** The three parts of a key's signature, whatever its spelling; undefined for a contract wallet's. */
function plainSignature(signature: Hex): { v: number; r: Hex; s: Hex } | undefined {
  if (size(signature) !== 65 && size(signature) !== 64) return undefined;
  try {
    const { r, s, yParity } = parseSignature(signature);
    return { v: 27 + yParity, r, s };
  } catch {
    return undefined; // 65 bytes that only their wallet understands
  }
}

/** True when the transaction moved exactly this: a receipt that says success is not enough, some tokens do nothing. */
export function movedIn({ config }: Pick<Deps, "config">, { from, to, value }: Authorization, { logs, status }: Pick<TransactionReceipt, "logs" | "status">): boolean {
  if (status !== "success") return false;
  const transfers = parseEventLogs({ abi: transferAbi, eventName: "Transfer", logs });
  return transfers.some((log) => isAddressEqual(log.address, config.token.address) && isAddressEqual(log.args.from, from) && isAddressEqual(log.args.to, to) && log.args.value === value);
}

export type Use =
  /** Moved the money, in this transaction; `deep` at the configured depth. */
  | { moved: true; txHash: Hex; deep: boolean }
  /** Cancelled, or used for something else. */
  | { moved: false };

/**
 * A used authorisation: what its AuthorizationUsed and Transfer logs say. Undefined while it is unused.
 * @throws `chain_unavailable` (503): it is used, and no node shows by what. That is never taken for "it did not pay".
 */
export async function findUse(deps: AuthorizationDeps, authorization: Authorization): Promise<Use | undefined> {
  if (!(await isUsed(deps, authorization))) return undefined;
  const head = await headOf(deps.chain);
  const hash = await endOf(deps, authorization, head);
  if (hash === "cancelled") return { moved: false };
  const receipt = await agreed(deps.chain, (client) => client.getTransactionReceipt({ hash }));
  if (!movedIn(deps, authorization, receipt)) return { moved: false };
  return { moved: true, txHash: receipt.transactionHash, deep: head - receipt.blockNumber + 1n >= BigInt(deps.config.confirmations) };
}

/** What more than half of the endpoints say. */
export function isUsed({ chain, config }: AuthorizationDeps, { from, nonce }: Authorization): Promise<boolean> {
  return agreed(chain, (client) => client.readContract({ address: config.token.address, abi: tokenAbi, functionName: "authorizationState", args: [getAddress(from), nonce] }));
}

/** The transaction that used it, or that it was cancelled. Looks from the newest block backwards. */
async function endOf(deps: AuthorizationDeps, authorization: Authorization, head: bigint): Promise<Hex | "cancelled"> {
  for (let page = 0, toBlock = head; page < LOG_PAGES && toBlock >= 0n; page += 1, toBlock -= LOG_PAGE_BLOCKS) {
    const fromBlock = toBlock >= LOG_PAGE_BLOCKS ? toBlock - LOG_PAGE_BLOCKS + 1n : 0n;
    // The newest page is open at its end: the use may be in a block that came after the head was asked for.
    const range = { fromBlock, toBlock: page === 0 ? ("latest" as const) : toBlock };
    const [used, cancelled] = await Promise.all((["AuthorizationUsed", "AuthorizationCanceled"] as const).map((eventName) => logsOf(deps, authorization, eventName, range)));
    if (used![0] !== undefined) return used![0];
    if (cancelled!.length > 0) return "cancelled";
  }
  throw chainUnavailable(new Error(`authorisation ${authorization.nonce} of ${authorization.from} is used, and no log says by what`));
}

function logsOf({ chain, config }: AuthorizationDeps, { from, nonce }: Authorization, eventName: "AuthorizationUsed" | "AuthorizationCanceled", range: { fromBlock: bigint; toBlock: bigint | "latest" }): Promise<Hex[]> {
  return agreed(chain, async (client) => {
    const logs = await client.getContractEvents({ address: config.token.address, abi: tokenAbi, eventName, args: { authorizer: from, nonce }, ...range });
    return logs.map(({ transactionHash }) => transactionHash);
  });
}
