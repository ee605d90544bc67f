// At boot, and for /readyz: is what stands on the chain what we sign for? A wrong address or an older contract would turn
// every voucher into a promise nobody can claim.
import { AbiDecodingDataSizeTooSmallError, BaseError, ContractFunctionZeroDataError, domainSeparator, keccak256, stringToBytes, type Address, type Hex } from "viem";
import { sessionChannelsAbi } from "../../../sdk/src/abi/session-channels.ts";
import { TallystickError } from "../../../sdk/src/errors.ts";
import { channelConfigTypes, claimBatchTypes, packedClaimTypes, refundTypes, sessionChannelsDomain, voucherTypes } from "../../../sdk/src/typed-data.ts";
import type { Deps } from "../deps.ts";
import { isRevert, readChain } from "./client.ts";
import { tokenAbi } from "./token-abi.ts";

type Types = Record<string, readonly { name: string; type: string }[]>;
type TypehashGetter = "CHANNEL_CONFIG_TYPEHASH" | "VOUCHER_TYPEHASH" | "REFUND_TYPEHASH" | "CLAIM_ENTRY_TYPEHASH" | "CLAIM_BATCH_TYPEHASH" | "PACKED_CLAIM_TYPEHASH";
type CheckDeps = Pick<Deps, "config" | "chain">;

const PUBLISHED: [TypehashGetter, Types, string][] = [
  ["CHANNEL_CONFIG_TYPEHASH", channelConfigTypes, "ChannelConfig"],
  ["VOUCHER_TYPEHASH", voucherTypes, "Voucher"],
  ["REFUND_TYPEHASH", refundTypes, "Refund"],
  ["CLAIM_ENTRY_TYPEHASH", { ClaimEntry: claimBatchTypes.ClaimEntry }, "ClaimEntry"],
  ["CLAIM_BATCH_TYPEHASH", claimBatchTypes, "ClaimBatch"],
];
const ADDITIONS: [TypehashGetter, Types, string][] = [["PACKED_CLAIM_TYPEHASH", packedClaimTypes, "PackedClaim"]];

/**
 * Refuses to go on when chain and configuration disagree.
 * @throws TallystickError `contracts_mismatch` (503) that lists every disagreement, or `chain_unavailable`.
 */
export async function checkContracts(deps: CheckDeps): Promise<void> {
  const problems = await contractProblems(deps);
  if (problems.length === 0) return;
  throw new TallystickError({
    code: "contracts_mismatch",
    status: 503,
    retry: "never",
    detail: `The chain is not what the configuration says:\n- ${problems.join("\n- ")}`,
    extra: { problems },
  });
}

/** Every disagreement between chain and configuration, in words; empty when all is well. */
export async function contractProblems({ config, chain }: CheckDeps): Promise<string[]> {
  const chainId = await readChain(() => chain.client.getChainId());
  if (chainId !== config.chainId) return [`the node serves chain ${chainId}, the configuration says ${config.chainId}`];

  const parts: [string, Address][] = [["SessionChannels", config.sessionChannels], ["ERC-3009 collector", config.erc3009Collector], ["token", config.token.address]];
  if (config.audit.anchor !== undefined) parts.push(["AuditAnchor", config.audit.anchor]);
  const codes = await readChain(() => Promise.all(parts.map(([, address]) => chain.client.getCode({ address }))));
  const missing = parts.filter((_, index) => (codes[index] ?? "0x") === "0x").map(([name, address]) => `no code at ${name} ${address}`);
  if (missing.length > 0) return missing;

  const checks = [domainProblem, typehashProblems, tokenProblem].map((check) => check({ config, chain }));
  return (await Promise.all(checks)).flat();
}

async function domainProblem({ config, chain }: CheckDeps): Promise<string[]> {
  const expected = sessionChannelsDomain(config.chainId, config.sessionChannels);
  const answer = await answerOf(() => chain.client.readContract({ address: config.sessionChannels, abi: sessionChannelsAbi, functionName: "eip712Domain" }));
  if (answer === undefined) return [`${config.sessionChannels} does not answer eip712Domain`];
  const [, name, version, chainId, verifyingContract] = answer;
  const told = { name, version, chainId: Number(chainId), verifyingContract };
  return Object.entries(expected)
    .filter(([field, value]) => String(told[field as keyof typeof told]).toLowerCase() !== String(value).toLowerCase())
    .map(([field, value]) => `SessionChannels' domain ${field} is ${told[field as keyof typeof told]}, we sign for ${value}`);
}

async function typehashProblems({ config, chain }: CheckDeps): Promise<string[]> {
  const wanted = config.settlementMode === "tallystick" ? [...PUBLISHED, ...ADDITIONS] : PUBLISHED;
  const answers = await Promise.all(
    wanted.map(([getter]) => answerOf(() => chain.client.readContract({ address: config.sessionChannels, abi: sessionChannelsAbi, functionName: getter }))),
  );
  return wanted.flatMap(([getter, types, primary], index) => {
    const expected = typehash(types, primary);
    return answers[index] === expected ? [] : [`SessionChannels' ${getter} is ${answers[index] ?? "missing"}, ours is ${expected}`];
  });
}

/** USDC answers DOMAIN_SEPARATOR; a token that does not is left to the simulation of each deposit. */
async function tokenProblem({ config, chain }: CheckDeps): Promise<string[]> {
  const { address, name, version } = config.token;
  const separator = await answerOf(() => chain.client.readContract({ address, abi: tokenAbi, functionName: "DOMAIN_SEPARATOR" }));
  const expected = domainSeparator({ domain: { name, version, chainId: config.chainId, verifyingContract: address } });
  return separator === undefined || separator === expected
    ? []
    : [`token ${address} has another EIP-712 domain than name "${name}", version "${version}": payers' authorisations would be refused`];
}

/** The answer, or undefined when the contract has no such function or refuses. */
async function answerOf<T>(read: () => Promise<T>): Promise<T | undefined> {
  return readChain(async () => {
    try {
      return await read();
    } catch (error) {
      if (isRevert(error) || isNoData(error)) return undefined;
      throw error;
    }
  });
}

function isNoData(error: unknown): boolean {
  const noData = (cause: unknown) => cause instanceof ContractFunctionZeroDataError || cause instanceof AbiDecodingDataSizeTooSmallError;
  return error instanceof BaseError && error.walk(noData) !== null;
}

/** EIP-712 typehash: the primary type, then the types it names in alphabetical order. */
function typehash(types: Types, primary: string): Hex {
  const others = Object.keys(types).filter((name) => name !== primary).sort();
  const encoded = [primary, ...others].map((name) => `${name}(${types[name]!.map((field) => `${field.type} ${field.name}`).join(",")})`).join("");
  return keccak256(stringToBytes(encoded));
}
