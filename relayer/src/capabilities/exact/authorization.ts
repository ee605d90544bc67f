// Would the token take this authorisation now, and if not, why? And what became of one that was used. Reads only.
import {
  encodeFunctionData, getAddress, hashTypedData, isAddressEqual, parseAbi, parseErc6492Signature, parseEventLogs, parseSignature, recoverAddress, serializeSignature, size,
  type Address, type Hex, type TransactionReceipt,
} from "viem";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { transferWithAuthorizationTypes } from "../../../../sdk/src/typed-data.ts";
import { agreed, headOf, isRevert, readChain } from "../../chain/client.ts";
import { ERC1271_MAGIC, erc1271Abi, tokenAbi } from "../../chain/token-abi.ts";
import type { Deps } from "../../deps.ts";
import { EXACT_FAULTS, type Authorization, type ExactFault } from "./types.ts";

type AuthorizationDeps = Pick<Deps, "chain" | "config" | "now">;

const transferAbi = parseAbi([
  "function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)",
  "event Transfer(address indexed from, address indexed to, uint256 value)",
]);
/** USDC 2.2: contract wallets. */
const transferBytesAbi = parseAbi(["function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)"]);

/** The block that takes the authorisation must come before validBefore; the stock facilitator keeps the same margin. */
const EXPIRY_MARGIN_S = 6n;
/** Where a used authorisation is looked for: an hour of blocks on Base, longer than authorisations live. */
const USE_WINDOW_BLOCKS = 2_000n;

export function exactFault(code: ExactFault, field: string, detail: string, cause?: unknown): TallystickError {
  return new TallystickError({ code, status: 402, retry: "never", field, detail, extra: { x402Error: EXACT_FAULTS[code] }, cause });
}

const AT = "payload.authorization";

/** Checks that need no chain. @throws a payment fault that names the field. */
export function checkAuthorizationTerms({ now }: Pick<Deps, "now">, authorization: Authorization, wanted: { payTo: Address; amount: bigint }): void {
  if (!isAddressEqual(authorization.to, wanted.payTo)) throw exactFault("authorization_recipient_mismatch", `${AT}.to`, `The authorisation pays ${authorization.to}, the terms say ${wanted.payTo}.`);
  if (authorization.value !== wanted.amount) throw exactFault("authorization_value_mismatch", `${AT}.value`, `The authorisation is for ${authorization.value}, the terms say exactly ${wanted.amount}.`);
  const nowS = BigInt(Math.floor(now().getTime() / 1000));
  if (authorization.validBefore < nowS + EXPIRY_MARGIN_S) throw exactFault("authorization_expired", `${AT}.validBefore`, `The authorisation ends at ${authorization.validBefore}; it is ${nowS} and ${EXPIRY_MARGIN_S} s are needed.`);
  if (authorization.validAfter > nowS) throw exactFault("authorization_not_yet_valid", `${AT}.validAfter`, `The authorisation starts at ${authorization.validAfter}; it is ${nowS}.`);
}

/**
 * Checks the signature and the payer's funds.
 * @returns true when the authorisation is unused and would pass now; false when it is used already.
 * @throws a payment fault that names the field; `chain_unavailable` (503).
 */
export async function checkAuthorization(deps: AuthorizationDeps, authorization: Authorization): Promise<boolean> {
  const token = { address: deps.config.token.address, abi: tokenAbi } as const;
  const { from, nonce, value } = authorization;
  const [code, balance, used] = await readChain(() =>
    Promise.all([
      deps.chain.client.getCode({ address: from }),
      deps.chain.client.readContract({ ...token, functionName: "balanceOf", args: [from] }),
      deps.chain.client.readContract({ ...token, functionName: "authorizationState", args: [from, nonce] }),
    ]),
  );
  await checkSignature(deps, authorization, (code ?? "0x") !== "0x");
  if (used) return false;
  if (balance < value) throw exactFault("insufficient_funds", `${AT}.value`, `The payer holds ${balance}, the payment is ${value}.`);
  return true;
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
  /** Used or cancelled without moving it. */
  | { moved: false };

/** A used authorisation: what its AuthorizationUsed and Transfer logs say. Undefined while it is unused. */
export async function findUse(deps: AuthorizationDeps, authorization: Authorization): Promise<Use | undefined> {
  const { address } = deps.config.token;
  const { from, nonce } = authorization;
  const used = await agreed(deps.chain, (client) => client.readContract({ address, abi: tokenAbi, functionName: "authorizationState", args: [getAddress(from), nonce] }));
  if (!used) return undefined;
  const head = await headOf(deps.chain);
  const fromBlock = head > USE_WINDOW_BLOCKS ? head - USE_WINDOW_BLOCKS : 0n;
  const [use] = await readChain(() => deps.chain.client.getContractEvents({ address, abi: tokenAbi, eventName: "AuthorizationUsed", args: { authorizer: from, nonce }, fromBlock }));
  if (use === undefined) return { moved: false };
  const receipt = await agreed(deps.chain, (client) => client.getTransactionReceipt({ hash: use.transactionHash }));
  if (!movedIn(deps, authorization, receipt)) return { moved: false };
  return { moved: true, txHash: receipt.transactionHash, deep: head - receipt.blockNumber + 1n >= BigInt(deps.config.confirmations) };
}
