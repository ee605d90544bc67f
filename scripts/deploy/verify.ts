// Is what stands on the chain what this repository says? Code, domains, typehashes and digests, read from the chain and
// compared with the compiled artifacts and with sdk/src/typed-data.ts.
import {
  hashTypedData,
  isAddressEqual,
  keccak256,
  maxUint128,
  pad,
  toHex,
  zeroAddress,
  type Abi,
  type Address,
  type Hex,
  type PublicClient,
} from "viem";
import { JOB_FEE_BPS, MIN_DISPUTE_WINDOW_S, SEAT_BOND_ATOMIC, type DeployedName } from "../../ignition/modules/Tallystick.ts";
import {
  allowanceCollectorDomain,
  channelConfigTypes,
  channelIdOf,
  claimBatchTypes,
  depositAuthorizationTypes,
  packedClaimTypes,
  refundTypes,
  sessionChannelsDomain,
  voucherDigest,
  voucherTypes,
  withdrawRequestTypes,
  type ChannelConfig,
} from "../../sdk/src/typed-data.ts";
import { listServiceDigest } from "../../sdk/src/bazaar-messages.ts";
import { bazaarRegistryDomain, capabilityTag, offerHashOf, serviceIdOf, type ServiceKey, type ServiceTerms } from "../../sdk/src/bazaar.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import * as jobs from "../../sdk/src/job-messages.ts";
import { mandateDepositTypes, mandateRevocationTypes, mandateSpendTypes } from "../../sdk/src/mandate-messages.ts";
import { mandateIdOf, mandateRegistryDomain, mandateTypes, type Mandate } from "../../sdk/src/mandate.ts";
import { artifact } from "../artifacts.ts";

export type Addresses = Record<DeployedName, Address>;
/** One comparison: what the repository says and what the chain says. */
export type Check = { contract: DeployedName; what: string; expected: string; actual: string };

/** Every comparison, in order; those that differ are the faults. */
export async function verifyDeployment(client: PublicClient, chainId: number, addresses: Addresses): Promise<{ checks: Check[]; faults: Check[] }> {
  const names = Object.keys(addresses) as DeployedName[];
  const code = await Promise.all(names.map((name) => checkCode(client, name, addresses[name])));
  // A contract without its code answers no question.
  const rest = code.every(({ expected, actual }) => expected === actual)
    ? [...(await checkChannels(client, chainId, addresses)), ...(await checkCollectors(client, chainId, addresses)), ...(await checkRegistry(client, chainId, addresses)), ...(await checkJobs(client, chainId, addresses)), ...(await checkBazaar(client, chainId, addresses))]
    : [];
  const checks = [...code, ...rest];
  return { checks, faults: checks.filter(({ expected, actual }) => expected !== actual) };
}

// ---------------------------------------------------------------- code

async function checkCode(client: PublicClient, contract: DeployedName, address: Address): Promise<Check> {
  const compiled = artifact(contract);
  const holes = immutablesOf(compiled);
  const onChain = await client.getCode({ address });
  return {
    contract,
    what: "code but for its immutables",
    expected: keccak256(masked(compiled.deployedBytecode, holes)),
    actual: onChain === undefined ? "no code" : keccak256(masked(onChain, holes)),
  };
}

type Hole = { start: number; length: number };

function immutablesOf(compiled: object): Hole[] {
  const { immutableReferences } = compiled as { immutableReferences?: Record<string, Hole[]> };
  return Object.values(immutableReferences ?? {}).flat();
}

/** Code with zeros where the constructor writes immutables; those are checked by asking the contract. */
function masked(code: Hex, holes: Hole[]): Hex {
  const bytes = Buffer.from(code.slice(2), "hex");
  for (const { start, length } of holes) bytes.fill(0, start, start + length);
  return toHex(bytes);
}

// ---------------------------------------------------------------- answers

type Ask = (functionName: string, args?: readonly unknown[]) => Promise<unknown>;

function asker(client: PublicClient, contract: DeployedName, address: Address): Ask {
  const abi: Abi = artifact(contract).abi;
  return (functionName, args = []) => client.readContract({ address, abi, functionName, args });
}

const sample: ChannelConfig = {
  payer: pad("0x01", { size: 20 }),
  payerAuthorizer: pad("0x02", { size: 20 }),
  receiver: pad("0x03", { size: 20 }),
  receiverAuthorizer: pad("0x04", { size: 20 }),
  token: pad("0x05", { size: 20 }),
  withdrawDelay: 900,
  salt: pad("0x06"),
};

const sampleMandate: Mandate = {
  principal: pad("0x01", { size: 20 }), delegate: pad("0x02", { size: 20 }), token: pad("0x03", { size: 20 }),
  limit: 4n, periodLimit: 5n, paymentLimit: 6n, period: 7, validAfter: 8, validUntil: 9, epoch: 10,
  payeesRoot: pad("0x11"), capability: pad("0x12"), parent: pad("0x13"), terms: pad("0x14"), salt: pad("0x15"),
};

async function checkChannels(client: PublicClient, chainId: number, addresses: Addresses): Promise<Check[]> {
  const contract = "SessionChannels";
  const address = addresses[contract];
  const ask = asker(client, contract, address);
  const domain = sessionChannelsDomain(chainId, address);
  const typehashes: [getter: string, expected: Hex][] = [
    ["CHANNEL_CONFIG_TYPEHASH", typehash(channelConfigTypes, "ChannelConfig")],
    ["VOUCHER_TYPEHASH", typehash(voucherTypes, "Voucher")],
    ["REFUND_TYPEHASH", typehash(refundTypes, "Refund")],
    ["CLAIM_ENTRY_TYPEHASH", typehash(claimBatchTypes, "ClaimEntry")],
    ["CLAIM_BATCH_TYPEHASH", typehash(claimBatchTypes, "ClaimBatch")],
    ["PACKED_CLAIM_TYPEHASH", typehash(packedClaimTypes, "PackedClaim")],
    ["WITHDRAW_REQUEST_TYPEHASH", typehash(withdrawRequestTypes, "WithdrawRequest")],
  ];
  const channelId = channelIdOf(domain, sample);
  return [
    { contract, what: "EIP-712 domain", expected: domainText(domain), actual: await readDomain(ask) },
    ...(await Promise.all(typehashes.map(async ([what, expected]) => ({ contract, what, expected, actual: String(await ask(what)) }) as Check))),
    { contract, what: "id of a sample channel", expected: channelId, actual: String(await ask("getChannelId", [sample])) },
    {
      contract,
      what: "digest of a sample voucher",
      expected: voucherDigest(domain, channelId, maxUint128),
      actual: String(await ask("getVoucherDigest", [channelId, maxUint128])),
    },
  ];
}

async function checkCollectors(client: PublicClient, chainId: number, addresses: Addresses): Promise<Check[]> {
  const serves = async (contract: DeployedName): Promise<Check> => {
    const served = (await asker(client, contract, addresses[contract])("x402BatchSettlement")) as Address;
    const expected = addresses.SessionChannels;
    return { contract, what: "channel contract it serves", expected, actual: isAddressEqual(served, expected) ? expected : served };
  };
  const contract = "AllowanceDepositCollector";
  const ask = asker(client, contract, addresses[contract]);
  const domain = allowanceCollectorDomain(chainId, addresses[contract]);
  const message = { channelId: pad("0x07"), token: sample.token, amount: 8n, nonce: 9n, deadline: 10n };
  return [
    await serves("ERC3009DepositCollector"),
    await serves(contract),
    { contract, what: "EIP-712 domain", expected: domainText(domain), actual: await readDomain(ask) },
    {
      contract,
      what: "DEPOSIT_AUTHORIZATION_TYPEHASH",
      expected: typehash(depositAuthorizationTypes, "DepositAuthorization"),
      actual: String(await ask("DEPOSIT_AUTHORIZATION_TYPEHASH")),
    },
    {
      contract,
      what: "digest of a sample authorisation",
      expected: hashTypedData({ domain, types: depositAuthorizationTypes, primaryType: "DepositAuthorization", message }),
      actual: String(await ask("getDepositAuthorizationDigest", Object.values(message))),
    },
  ];
}

async function checkRegistry(client: PublicClient, chainId: number, addresses: Addresses): Promise<Check[]> {
  const contract = "MandateRegistry";
  const ask = asker(client, contract, addresses[contract]);
  const domain = mandateRegistryDomain(chainId, addresses[contract]);
  const check = (what: string, expected: string, actual: unknown): Check => ({ contract, what, expected, actual: String(actual) });
  const typehashes = [
    check("MANDATE_TYPEHASH", typehash(mandateTypes, "Mandate"), await ask("MANDATE_TYPEHASH")),
    check("SPEND_TYPEHASH", typehash(mandateSpendTypes, "MandateSpend"), await ask("SPEND_TYPEHASH")),
    check("DEPOSIT_TYPEHASH", typehash(mandateDepositTypes, "MandateDeposit"), await ask("DEPOSIT_TYPEHASH")),
    check("REVOCATION_TYPEHASH", typehash(mandateRevocationTypes, "MandateRevocation"), await ask("REVOCATION_TYPEHASH")),
  ];
  return [
    check("channel contract it funds", addresses.SessionChannels, await ask("sessionChannels")),
    check("published channel contract it funds", SESSION_CHANNELS, await ask("publishedChannels")),
    check("EIP-712 domain", domainText(domain), await readDomain(ask)),
    ...typehashes,
    check("id of a sample mandate", mandateIdOf(domain, sampleMandate), await ask("getMandateId", [sampleMandate])),
  ];
}

async function checkJobs(client: PublicClient, chainId: number, addresses: Addresses): Promise<Check[]> {
  const checksOf = (contract: DeployedName) => {
    const ask = asker(client, contract, addresses[contract]);
    const check = async (what: string, expected: string, getter: string): Promise<Check> => ({ contract, what, expected, actual: String(await ask(getter)) });
    const domain = async (expected: Domain): Promise<Check> => ({ contract, what: "EIP-712 domain", expected: domainText(expected), actual: await readDomain(ask) });
    return { check, domain };
  };
  const [escrow, judge] = [checksOf("JobEscrow"), checksOf("DisputeEvaluator")];
  const typehashes = (of: typeof escrow, known: [getter: string, types: Types, primaryType: string][]) =>
    known.map(([getter, types, primaryType]) => of.check(getter, typehash(types, primaryType), getter));
  return Promise.all([
    escrow.domain(jobs.jobEscrowDomain(chainId, addresses.JobEscrow)),
    escrow.check("mandate registry it is paid by", addresses.MandateRegistry, "mandateRegistry"),
    escrow.check("fee, basis points", String(JOB_FEE_BPS), "feeBps"),
    ...typehashes(escrow, [
      ["HIRE_TYPEHASH", jobs.jobHireTypes, "JobHire"],
      ["SUBMISSION_TYPEHASH", jobs.jobSubmissionTypes, "JobSubmission"],
      ["COMPLETION_TYPEHASH", jobs.jobCompletionTypes, "JobCompletion"],
      ["REJECTION_TYPEHASH", jobs.jobRejectionTypes, "JobRejection"],
    ]),
    judge.domain(jobs.disputeEvaluatorDomain(chainId, addresses.DisputeEvaluator)),
    judge.check("escrow it judges for", addresses.JobEscrow, "escrow"),
    judge.check("token it takes, the escrow's", await asker(client, "JobEscrow", addresses.JobEscrow)("token").then(String), "token"),
    judge.check("bond of a seat", String(SEAT_BOND_ATOMIC), "SEAT_BOND"),
    judge.check("least window, seconds", String(MIN_DISPUTE_WINDOW_S), "MIN_WINDOW"),
    ...typehashes(judge, [
      ["DISPUTE_TYPEHASH", jobs.disputeTypes, "Dispute"],
      ["ESCALATION_TYPEHASH", jobs.escalationTypes, "Escalation"],
      ["CONCESSION_TYPEHASH", jobs.concessionTypes, "Concession"],
      ["VOTE_TYPEHASH", jobs.voteCommitmentTypes, "VoteCommitment"],
      ["RULING_TYPEHASH", jobs.rulingTypes, "Ruling"],
    ]),
  ]);
}

const sampleService: ServiceKey = { agent: 1n, owner: zeroAddress, salt: pad("0x0a") };
const sampleTerms: ServiceTerms = {
  payTo: pad("0x0b", { size: 20 }),
  token: pad("0x0c", { size: 20 }),
  offer: { capability: capabilityTag("web.search"), categories: 5n, price: 1_000n, schemes: 3, visibility: 1, contentHash: pad("0x0d"), uri: "https://provider.example" },
};

async function checkBazaar(client: PublicClient, chainId: number, addresses: Addresses): Promise<Check[]> {
  const contract = "BazaarRegistry";
  const ask = asker(client, contract, addresses[contract]);
  const domain = bazaarRegistryDomain(chainId, addresses[contract]);
  const check = (what: string, expected: string, actual: unknown): Check => ({ contract, what, expected, actual: String(actual) });
  const listing = { serviceId: serviceIdOf(domain, sampleService), terms: sampleTerms, publish: true, deadline: 7n };
  return [
    check("channel contract whose claims it rates", addresses.SessionChannels, await ask("sessionChannels")),
    check("published channel contract whose claims it rates", SESSION_CHANNELS, await ask("publishedChannels")),
    check("EIP-712 domain", domainText(domain), await readDomain(ask)),
    check("id of a sample service", listing.serviceId, await ask("getServiceId", [sampleService])),
    check("hash of a sample offer", offerHashOf(sampleTerms.offer), await ask("getOfferHash", [sampleTerms.offer])),
    check("digest of a sample listing", listServiceDigest(domain, listing), await ask("getListDigest", [listing.serviceId, sampleTerms, true, 7n])),
  ];
}

type Domain = { name: string; version: string; chainId: number; verifyingContract: Address };

function domainText({ name, version, chainId, verifyingContract }: Domain): string {
  return `${name} ${version} ${chainId} ${verifyingContract}`;
}

async function readDomain(ask: Ask): Promise<string> {
  const [, name, version, chainId, verifyingContract] = (await ask("eip712Domain")) as [Hex, string, string, bigint, Address];
  return domainText({ name, version, chainId: Number(chainId), verifyingContract });
}

type Types = Record<string, readonly { name: string; type: string }[]>;

/** EIP-712's typeHash: the primary type first, then the types it refers to, sorted. */
function typehash(types: Types, primaryType: string): Hex {
  const referred = new Set<string>();
  const visit = (type: string) => {
    if (types[type] === undefined || referred.has(type)) return;
    referred.add(type);
    for (const field of types[type]) visit(field.type.replace(/\[.*$/, ""));
  };
  visit(primaryType);
  referred.delete(primaryType);
  const encode = (type: string) => `${type}(${types[type]!.map((field) => `${field.type} ${field.name}`).join(",")})`;
  return keccak256(toHex([primaryType, ...[...referred].sort()].map(encode).join("")));
}
