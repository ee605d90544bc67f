// A chain with SessionChannels, its collectors and test USDC, and the acts of payers, receivers and their authorizer.
// Everything is deterministic (keys, salts, signatures), so that gas can be compared to the unit.
import hre from "hardhat";
import type { Contract, ContractTransactionReceipt, ContractTransactionResponse } from "ethers";
import { encodeAbiParameters, hashTypedData, keccak256, toHex, zeroHash, type Address, type Hex } from "viem";
import { privateKeyToAddress, sign } from "viem/accounts";
import { encodePackedRows, type PackedRow } from "../../sdk/src/packed-claim.ts";
import {
  channelIdOf,
  claimBatchTypes,
  packedClaimTypes,
  receiveWithAuthorizationTypes,
  refundTypes,
  sessionChannelsDomain,
  voucherDigest,
  withdrawRequestTypes,
  type ChannelConfig,
} from "../../sdk/src/typed-data.ts";

export const CHAIN_ID = 84532;
/** 10 USDC in atomic units. */
export const DEPOSIT_ATOMIC = 10_000_000n;
/** Signatures in tests never expire: 2100-01-01, Unix seconds. */
export const VALID_BEFORE_S = 4_102_444_800n;

export type Actor = { address: Address; key: Hex };
export type Channel = { config: ChannelConfig; id: Hex; payerKey: Hex };
export type ClaimRow = { voucher: { channel: ChannelConfig; maxClaimableAmount: bigint }; signature: Hex; totalClaimed: bigint };
export type PackedGroup = {
  receiver: Address;
  receiverAuthorizer: Address;
  token: Address;
  withdrawDelay: number;
  receiptsRoot: Hex;
  rows: Hex;
  authorization: Hex;
};
export type SessionWorld = Awaited<ReturnType<typeof createSessionWorld>>;

/** The actor of that name, the same in every run. */
export function actor(name: string): Actor {
  const key = keccak256(toHex(`tallystick test actor ${name}`));
  return { key, address: privateKeyToAddress(key) };
}

/** Deploys everything on a fresh in-process chain. */
export async function createSessionWorld() {
  const connection = await hre.network.create({ network: "local", chainType: "op" });
  const { ethers } = connection;
  const [admin, relayer] = await ethers.getSigners();
  if (admin === undefined || relayer === undefined) throw new Error("the local network has no accounts");

  const usdc = await ethers.deployContract("TestUSDC", ["USDC", "2"]);
  const channels = await ethers.deployContract("SessionChannels");
  const channelsAddress = (await channels.getAddress()) as Address;
  const erc3009Collector = await ethers.deployContract("ERC3009DepositCollector", [channelsAddress]);
  const allowanceCollector = await ethers.deployContract("AllowanceDepositCollector", [channelsAddress]);
  await usdc.getFunction("initialize")(admin.address);

  return {
    connection,
    ethers,
    /** Mints test USDC; pauses and blacklists. */
    admin,
    /** Sends transactions on nobody's behalf. */
    relayer,
    /** Claims and refunds for every receiver. */
    authorizer: actor("authorizer"),
    usdc,
    usdcAddress: (await usdc.getAddress()) as Address,
    channels,
    channelsAddress,
    erc3009Collector,
    allowanceCollector,
    domain: sessionChannelsDomain(CHAIN_ID, channelsAddress),
    usdcDomain: { name: "USDC", version: "2", chainId: CHAIN_ID, verifyingContract: (await usdc.getAddress()) as Address },
  };
}

/** A signer for any address, funded for gas. */
export async function signerFor(world: SessionWorld, address: Address) {
  await world.connection.provider.request({ method: "hardhat_setBalance", params: [address, toHex(10n ** 20n)] });
  return world.ethers.getImpersonatedSigner(address);
}

/** The contract as that sender sees it. */
export async function channelsAs(world: SessionWorld, address: Address): Promise<Contract> {
  return world.channels.connect(await signerFor(world, address)) as Contract;
}

/** Calls a function and returns its receipt; throws when the transaction reverts. */
export async function send(contract: Contract, name: string, ...args: unknown[]): Promise<ContractTransactionReceipt> {
  const response = (await contract.getFunction(name)(...args)) as ContractTransactionResponse;
  const receipt = await response.wait();
  if (receipt === null) throw new Error(`no receipt for ${name}`);
  return receipt;
}

/** A channel of that payer to that receiver; terms may be overridden. */
export function channelOf(
  world: SessionWorld,
  payer: Actor,
  receiver: Address,
  terms: Partial<ChannelConfig> = {},
): Channel {
  const config: ChannelConfig = {
    payer: payer.address,
    payerAuthorizer: payer.address,
    receiver,
    receiverAuthorizer: world.authorizer.address,
    token: world.usdcAddress,
    withdrawDelay: 86_400,
    salt: zeroHash,
    ...terms,
  };
  return { config, id: channelIdOf(world.domain, config), payerKey: payer.key };
}

/** `collectorData` of an ERC-3009 deposit into the channel; `to` is who pulls: the channel contract or its collector. */
export async function erc3009Data(
  world: SessionWorld,
  channel: Channel,
  amount: bigint,
  options: { salt?: Hex; to?: Address } = {},
): Promise<Hex> {
  const salt = options.salt ?? zeroHash;
  const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [channel.id, salt]));
  const digest = hashTypedData({
    domain: world.usdcDomain,
    types: receiveWithAuthorizationTypes,
    primaryType: "ReceiveWithAuthorization",
    message: {
      from: channel.config.payer,
      to: options.to ?? world.channelsAddress,
      value: amount,
      validAfter: 0n,
      validBefore: VALID_BEFORE_S,
      nonce,
    },
  });
  return encodeAbiParameters(
    [{ type: "uint256" }, { type: "uint256" }, { type: "bytes32" }, { type: "bytes" }],
    [0n, VALID_BEFORE_S, salt, await signDigest(channel.payerKey, digest)],
  );
}

/** Mints to the payer and deposits by the built-in ERC-3009 path. */
export async function openChannel(world: SessionWorld, channel: Channel, amount = DEPOSIT_ATOMIC): Promise<void> {
  await openChannels(world, [channel], amount);
}

/** As openChannel, many in one multicall. Payers keep as much again, so that refunds meet a non-zero balance. */
export async function openChannels(world: SessionWorld, channels: Channel[], amount = DEPOSIT_ATOMIC): Promise<void> {
  const calls: string[] = [];
  for (const channel of channels) {
    await send(world.usdc, "mint", channel.config.payer, 2n * amount);
    const data = await erc3009Data(world, channel, amount);
    calls.push(
      world.channels.interface.encodeFunctionData("deposit", [channel.config, amount, world.channelsAddress, data]),
    );
  }
  for (let at = 0; at < calls.length; at += 50) await send(world.channels, "multicall", calls.slice(at, at + 50));
}

/** A 65-byte signature (r, s, v). */
export async function signDigest(key: Hex, digest: Hex): Promise<Hex> {
  return sign({ hash: digest, privateKey: key, to: "hex" });
}

export async function signVoucher(world: SessionWorld, channel: Channel, ceiling: bigint, key = channel.payerKey): Promise<Hex> {
  return signDigest(key, voucherDigest(world.domain, channel.id, ceiling));
}

/** A plain claim row; `total` is the ceiling unless told. */
export async function claimRow(world: SessionWorld, channel: Channel, ceiling: bigint, total = ceiling): Promise<ClaimRow> {
  return {
    voucher: { channel: channel.config, maxClaimableAmount: ceiling },
    signature: await signVoucher(world, channel, ceiling),
    totalClaimed: total,
  };
}

/** A packed claim row; `total` is the ceiling unless told. */
export async function packedRow(world: SessionWorld, channel: Channel, ceiling: bigint, total = ceiling): Promise<PackedRow> {
  return {
    payer: channel.config.payer,
    payerAuthorizer: channel.config.payerAuthorizer,
    salt: channel.config.salt,
    maxClaimableAmount: ceiling,
    totalClaimed: total,
    signature: await signVoucher(world, channel, ceiling),
  };
}

/** A packed group of rows with the terms of `config`, unsigned. */
export function packedGroup(config: ChannelConfig, rows: PackedRow[]): PackedGroup {
  return {
    receiver: config.receiver,
    receiverAuthorizer: config.receiverAuthorizer,
    token: config.token,
    withdrawDelay: config.withdrawDelay,
    receiptsRoot: zeroHash,
    rows: encodePackedRows(rows),
    authorization: "0x",
  };
}

/** The group with the authorizer's PackedClaim signature. */
export async function authorize(world: SessionWorld, group: PackedGroup): Promise<PackedGroup> {
  const digest = hashTypedData({ domain: world.domain, types: packedClaimTypes, primaryType: "PackedClaim", message: group });
  return { ...group, authorization: await signDigest(world.authorizer.key, digest) };
}

/** The authorizer's ClaimBatch signature over plain rows. */
export async function signClaimBatch(world: SessionWorld, rows: ClaimRow[]): Promise<Hex> {
  const claims = rows.map((row) => ({
    channelId: channelIdOf(world.domain, row.voucher.channel),
    maxClaimableAmount: row.voucher.maxClaimableAmount,
    totalClaimed: row.totalClaimed,
  }));
  const digest = hashTypedData({ domain: world.domain, types: claimBatchTypes, primaryType: "ClaimBatch", message: { claims } });
  return signDigest(world.authorizer.key, digest);
}

/** The authorizer's Refund signature. */
export async function signRefund(world: SessionWorld, channel: Channel, nonce: bigint, amount: bigint): Promise<Hex> {
  const message = { channelId: channel.id, nonce, amount };
  return signDigest(
    world.authorizer.key,
    hashTypedData({ domain: world.domain, types: refundTypes, primaryType: "Refund", message }),
  );
}

/** The payer's consent to start a withdrawal of at most `amount`. */
export async function signWithdrawRequest(world: SessionWorld, channel: Channel, amount: bigint, deadline: bigint): Promise<Hex> {
  const message = { channelId: channel.id, amount, deadline };
  const types = withdrawRequestTypes;
  return signDigest(channel.payerKey, hashTypedData({ domain: world.domain, types, primaryType: "WithdrawRequest", message }));
}
