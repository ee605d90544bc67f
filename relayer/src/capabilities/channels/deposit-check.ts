// Would this deposit be taken by the chain, and if not, whose fault is it and where? Nothing here sends anything.
import {
  BaseError, encodeAbiParameters, encodeFunctionData, getAddress, hashTypedData, isAddressEqual,
  keccak256, parseEventLogs, parseErc6492Signature, parseSignature, recoverAddress, serializeSignature, size, type Address, type Hex,
} from "viem";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { TallystickError } from "../../../../sdk/src/errors.ts";
import { channelIdOf, receiveWithAuthorizationTypes, sessionChannelsDomain, type ChannelConfig } from "../../../../sdk/src/typed-data.ts";
import { isRevert, readChain, revertName } from "../../chain/client.ts";
import { ERC1271_MAGIC, erc1271Abi, tokenAbi } from "../../chain/token-abi.ts";
import type { Deps } from "../../deps.ts";
import { paymentFault } from "./faults.ts";

/** Times in unix seconds. */
export type Erc3009Deposit = { validAfter: bigint; validBefore: bigint; salt: Hex; signature: Hex };
/** What the mandate registry reads: lineage, proofs, and the delegate's signature. */
export type MandateDeposit = { data: Hex };

export type DepositRequest = {
  config: ChannelConfig;
  channelId: Hex;
  /** Atomic token units. */
  amount: bigint;
  authorization: Erc3009Deposit | MandateDeposit;
  /** Whom the authorisation is made out to: the published collector (when undefined), or our contract's own ERC-3009 path. */
  collector?: Address | undefined;
  /** The channel's receiverAuthorizer need not be ours: somebody else's server keeps its books (facilitator). */
  foreign?: boolean;
  paymentId: string;
};

const AUTHORIZATION = "payload.deposit.authorization.erc3009Authorization";
/** The block that takes the authorisation must come before validBefore; the stock facilitator keeps the same margin. */
const EXPIRY_MARGIN_S = 6n;
/** Where a used authorisation is looked for: an hour of blocks on Base, longer than authorisations live. */
const USE_WINDOW_BLOCKS = 2_000n;

/** The ERC-3009 nonce binds the authorisation to one channel (published scheme, L2.5). */
export function depositNonce(channelId: Hex, salt: Hex): Hex {
  return keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "uint256" }], [channelId, BigInt(salt)]));
}

/** A deposit by the payer's ERC-3009 signature. */
export type Erc3009Request = Omit<DepositRequest, "authorization"> & { authorization: Erc3009Deposit };

/** Checks of the channel and the amount that need no chain. @throws a payment fault that names the field. */
export function checkChannelTerms(deps: Pick<Deps, "config" | "keyring">, { config, channelId, amount, foreign = false }: Omit<DepositRequest, "authorization">): void {
  if (channelIdOf(sessionChannelsDomain(deps.config.chainId, deps.config.sessionChannels), config) !== channelId.toLowerCase()) {
    throw paymentFault("channel_id_mismatch", "payload.voucher.channelId", `The channel id ${channelId} is not the hash of channelConfig.`);
  }
  if (!isAddressEqual(config.token, deps.config.token.address)) {
    throw paymentFault("token_mismatch", "payload.channelConfig.token", `The channel's token is ${config.token}, payments are in ${deps.config.token.address}.`);
  }
  if (!foreign && !deps.keyring.has(config.receiverAuthorizer)) {
    throw paymentFault("receiver_authorizer_mismatch", "payload.channelConfig.receiverAuthorizer", `${config.receiverAuthorizer} is not a key of this relayer: it could not claim from the channel.`);
  }
  if (amount <= 0n || amount >= 1n << 128n) throw paymentFault("deposit_refused", "payload.deposit.amount", `A deposit of ${amount} is not a positive uint128.`);
}

/** The same, and of the authorisation. */
export function checkTerms(deps: Pick<Deps, "config" | "keyring" | "now">, request: Erc3009Request): void {
  checkChannelTerms(deps, request);
  const { authorization, collector } = request;
  if (!collectorsOf(deps).some((allowed) => isAddressEqual(allowed, collectorOf(deps, { collector })))) {
    throw paymentFault("deposit_refused", "payload.deposit.collector", `The collector ${collector} is not one of ${collectorsOf(deps).join(", ")}.`);
  }
  const nowS = BigInt(Math.floor(deps.now().getTime() / 1000));
  if (authorization.validBefore < nowS + EXPIRY_MARGIN_S) {
    throw paymentFault("deposit_expired", `${AUTHORIZATION}.validBefore`, `The authorisation ends at ${authorization.validBefore}; it is ${nowS} and ${EXPIRY_MARGIN_S} s are needed.`);
  }
  if (authorization.validAfter > nowS) {
    throw paymentFault("deposit_not_yet_valid", `${AUTHORIZATION}.validAfter`, `The authorisation starts at ${authorization.validAfter}; it is ${nowS}.`);
  }
}

/** The contract itself is a collector only where it is ours. */
function collectorsOf({ config }: Pick<Deps, "config">): Address[] {
  return [config.erc3009Collector, ...(config.settlementMode === "tallystick" ? [config.sessionChannels] : [])];
}

function collectorOf({ config }: Pick<Deps, "config">, { collector }: Pick<DepositRequest, "collector">): Address {
  return collector ?? config.erc3009Collector;
}

/** Everything that can be known of a deposit before it is sent. @throws as checkTerms and checkAuthorization. */
export async function checkErc3009Deposit(deps: Pick<Deps, "chain" | "config" | "keyring" | "now">, request: Erc3009Request): Promise<void> {
  checkTerms(deps, request);
  const nonce = depositNonce(request.channelId, request.authorization.salt);
  const facts = await readFacts(deps, request, nonce);
  if (facts.authorizationUsed) throw paymentFault("deposit_authorization_used", `${AUTHORIZATION}.salt`, "The authorisation was used or cancelled.");
  await checkAuthorization(deps, request, nonce, facts);
}

export type DepositFacts = { payerHasCode: boolean; payerBalance: bigint; authorizationUsed: boolean };

export async function readFacts(deps: Pick<Deps, "chain">, { config }: Erc3009Request, nonce: Hex): Promise<DepositFacts> {
  const token = { address: config.token, abi: tokenAbi } as const;
  const { client } = deps.chain;
  const [code, payerBalance, authorizationUsed] = await readChain(() =>
    Promise.all([
      client.getCode({ address: config.payer }),
      client.readContract({ ...token, functionName: "balanceOf", args: [config.payer] }),
      client.readContract({ ...token, functionName: "authorizationState", args: [config.payer, nonce] }),
    ]),
  );
  return { payerHasCode: (code ?? "0x") !== "0x", payerBalance, authorizationUsed };
}

/**
 * Checks the authorisation's signature and the payer's funds.
 * @returns the signature in the form the token takes.
 */
export async function checkAuthorization(deps: Pick<Deps, "chain" | "config">, request: Erc3009Request, nonce: Hex, facts: DepositFacts): Promise<Hex> {
  const signature = await tokenSignature(deps, request, nonce, facts);
  if (facts.payerBalance < request.amount) {
    throw paymentFault("deposit_insufficient_balance", "payload.deposit.amount", `The payer holds ${facts.payerBalance}, the deposit is ${request.amount}.`);
  }
  return signature;
}

async function tokenSignature(deps: Pick<Deps, "chain" | "config">, request: Erc3009Request, nonce: Hex, { payerHasCode }: DepositFacts): Promise<Hex> {
  const { payer } = request.config;
  const { address: factory, signature } = unwrap(request.authorization.signature);
  if (payerHasCode) return (await walletAccepts(deps, request, nonce, signature)) ? signature : badSignature(payer);
  if (factory !== undefined) {
    throw paymentFault("deposit_factory_not_allowed", `${AUTHORIZATION}.signature`, `The payer ${payer} is not deployed yet, and this relayer deploys no wallets.`);
  }
  try {
    // USDC takes 65 bytes with v 27 or 28 only; other spellings of the same signature are rewritten.
    const plain = serializeSignature(parseSignature(signature));
    const signer = await recoverAddress({ hash: authorizationDigest(deps, request, nonce), signature: plain });
    return isAddressEqual(signer, payer) && size(plain) === 65 ? plain : badSignature(payer);
  } catch (error) {
    if (error instanceof TallystickError) throw error;
    return badSignature(payer, error);
  }
}

function unwrap(signature: Hex): { address?: Address; signature: Hex } {
  try {
    return parseErc6492Signature(signature);
  } catch {
    return { signature }; // not hex of a sensible length: the checks that follow name the field
  }
}

function badSignature(payer: Address, cause?: unknown): never {
  throw paymentFault("deposit_signature_invalid", `${AUTHORIZATION}.signature`, `The signature is not one of ${payer} over this authorisation.`, { cause });
}

async function walletAccepts(deps: Pick<Deps, "chain" | "config">, request: Erc3009Request, nonce: Hex, signature: Hex): Promise<boolean> {
  try {
    const answer = await deps.chain.client.readContract({ address: request.config.payer, abi: erc1271Abi, functionName: "isValidSignature", args: [authorizationDigest(deps, request, nonce), signature] });
    return answer === ERC1271_MAGIC;
  } catch (error) {
    if (isRevert(error) || isBadAnswer(error)) return false;
    return readChain(() => Promise.reject(error));
  }
}

/** A wallet that answers nothing, or something that is not a bytes4. */
function isBadAnswer(error: unknown): boolean {
  return error instanceof BaseError && error.walk((cause) => cause instanceof BaseError && /^(AbiDecoding|ContractFunctionZeroData)/.test(cause.name)) !== null;
}

function authorizationDigest({ config }: Pick<Deps, "config">, request: Erc3009Request, nonce: Hex): Hex {
  const { validAfter, validBefore } = request.authorization;
  return hashTypedData({
    domain: { name: config.token.name, version: config.token.version, chainId: config.chainId, verifyingContract: config.token.address },
    types: receiveWithAuthorizationTypes,
    primaryType: "ReceiveWithAuthorization",
    message: { from: getAddress(request.config.payer), to: collectorOf({ config }, request), value: request.amount, validAfter, validBefore, nonce },
  });
}

export function depositCalldata(deps: Pick<Deps, "config">, { config, amount, authorization, collector }: Erc3009Request, signature: Hex): Hex {
  const data = encodeAbiParameters(
    [{ type: "uint256" }, { type: "uint256" }, { type: "uint256" }, { type: "bytes" }],
    [authorization.validAfter, authorization.validBefore, BigInt(authorization.salt), signature],
  );
  return encodeFunctionData({ abi: sessionChannelsAbi, functionName: "deposit", args: [config, amount, collectorOf(deps, { collector }), data] });
}

/** A used authorisation: the transaction by which it funded this channel, or undefined when it did something else. */
export async function findExternalDeposit(deps: Pick<Deps, "chain" | "config">, { config, channelId }: Erc3009Request, nonce: Hex): Promise<{ txHash: Hex; blockNumber: bigint } | undefined> {
  const { client } = deps.chain;
  return readChain(async () => {
    const head = await client.getBlockNumber({ cacheTime: 0 });
    const fromBlock = head > USE_WINDOW_BLOCKS ? head - USE_WINDOW_BLOCKS : 0n;
    const [use] = await client.getContractEvents({ address: config.token, abi: tokenAbi, eventName: "AuthorizationUsed", args: { authorizer: config.payer, nonce }, fromBlock });
    if (use === undefined) return undefined;
    const receipt = await client.getTransactionReceipt({ hash: use.transactionHash });
    const deposits = parseEventLogs({ abi: sessionChannelsAbi, eventName: "Deposited", args: { channelId }, logs: receipt.logs });
    const ours = deposits.some((log) => isAddressEqual(log.address, deps.config.sessionChannels));
    return ours ? { txHash: receipt.transactionHash, blockNumber: receipt.blockNumber } : undefined;
  });
}

/** The chain refused the exact call; state, signature and funds were checked before, so what is left is told by its error. */
export function depositRefusal(error: unknown, { config, amount }: DepositRequest): TallystickError {
  const reason = revertName(error);
  const because = (detail: string) => `${detail} (the chain says ${reason ?? "nothing more"}).`;
  const more = { extra: { reason }, cause: error };
  switch (reason) {
    case "InvalidChannel":
      return paymentFault("deposit_refused", "payload.channelConfig", because("Payer, receiver, receiverAuthorizer and token must not be zero"), more);
    case "WithdrawDelayOutOfRange":
      return paymentFault("withdraw_delay_out_of_range", "payload.channelConfig.withdrawDelay", because(`A withdrawDelay of ${config.withdrawDelay} s is out of range`), more);
    case "ZeroDeposit":
    case "DepositOverflow":
      return paymentFault("deposit_refused", "payload.deposit.amount", because(`A deposit of ${amount} cannot be added`), more);
    case "InvalidCollector":
      return new TallystickError({ code: "contracts_mismatch", status: 503, retry: "never", detail: "The relayer's deposit collector does not exist on this chain.", cause: error });
    default:
      return paymentFault("deposit_refused", AUTHORIZATION, because("The token or its collector refuses the authorisation"), more);
  }
}
