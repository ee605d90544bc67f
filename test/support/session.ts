// SessionChannels as payers, receivers and a relayer use it: everything signed here, sent as raw bytes that can be sent again
// after a reorg.
import {
  decodeErrorResult,
  encodeAbiParameters,
  encodeFunctionData,
  keccak256,
  maxUint256,
  zeroHash,
  type Address,
  type ContractFunctionArgs,
  type Hex,
  type LocalAccount,
  type TransactionReceipt,
} from "viem";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { BASE_SEPOLIA, ERC3009_COLLECTOR, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { encodePackedRows, type PackedRow } from "../../sdk/src/packed-claim.ts";
import {
  channelIdOf,
  claimBatchTypes,
  packedClaimTypes,
  receiveWithAuthorizationTypes,
  refundTypes,
  sessionChannelsDomain,
  voucherTypes,
  type ChannelConfig,
} from "../../sdk/src/typed-data.ts";
import type { TestChain } from "./chain.ts";

export const domain = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
export const idOf = (config: ChannelConfig): Hex => channelIdOf(domain, config);

type Write = "deposit" | "claim" | "claimWithSignature" | "claimAndSettle" | "claimPacked" | "settle" | "refund" | "refundWithSignature" | "initiateWithdraw" | "cancelWithdraw" | "finalizeWithdraw" | "multicall";
type Args<Name extends Write> = ContractFunctionArgs<typeof sessionChannelsAbi, "nonpayable", Name>;
type ClaimRow = { config: ChannelConfig; voucherKey: LocalAccount; totalClaimed: bigint; ceiling?: bigint };
type PackedGroup = Args<"claimPacked">[0][number];

export type Sent = { raw: Hex; hash: Hex; receipt: TransactionReceipt };

export class Sessions {
  readonly chain: TestChain;
  #salts = 0n;
  constructor(chain: TestChain) {
    this.chain = chain;
  }

  /** Signs, sends and waits; throws with the contract's error when it reverted. */
  async send<Name extends Write>(account: LocalAccount, functionName: Name, args: Args<Name>): Promise<Sent> {
    const data = encodeFunctionData({ abi: sessionChannelsAbi, functionName, args } as Parameters<typeof encodeFunctionData>[0]);
    return this.sendTo(account, SESSION_CHANNELS, data);
  }

  async sendTo(account: LocalAccount, to: Address, data: Hex): Promise<Sent> {
    const { client } = this.chain;
    const nonce = await client.getTransactionCount({ address: account.address });
    const fee = { maxFeePerGas: 10_000_000_000n, maxPriorityFeePerGas: 1n };
    const raw = await account.signTransaction({ type: "eip1559", chainId: BASE_SEPOLIA.chainId, to, data, nonce, gas: 5_000_000n, ...fee });
    return this.sendRaw(raw);
  }

  async sendRaw(raw: Hex): Promise<Sent> {
    const { client } = this.chain;
    const hash = await client.sendRawTransaction({ serializedTransaction: raw });
    const receipt = await client.waitForTransactionReceipt({ hash });
    if (receipt.status !== "success") throw new Error(`reverted: ${await this.#reason(hash)}`);
    return { raw, hash, receipt };
  }

  async #reason(hash: Hex): Promise<string> {
    const { from, to, input, blockNumber } = await this.chain.client.getTransaction({ hash });
    const call = this.chain.client.call({ account: from, to, data: input, blockNumber: blockNumber - 1n });
    const data = await call.then(() => undefined, (error) => (error as { walk(): { data?: Hex } }).walk().data);
    return data === undefined ? "no reason" : decodeErrorResult({ abi: sessionChannelsAbi, data }).errorName;
  }

  /** Deposits by an ERC-3009 signature, through the published collector or (collector = the contract itself) the built-in path. */
  async deposit(config: ChannelConfig, payer: LocalAccount, amount: bigint, options: { sender?: LocalAccount; collector?: Address } = {}): Promise<Sent> {
    const collector = options.collector ?? ERC3009_COLLECTOR;
    const salt = keccak256(encodeAbiParameters([{ type: "uint256" }], [this.#salts++]));
    const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [idOf(config), salt]));
    const { name, version } = BASE_SEPOLIA.usdc;
    const signature = await payer.signTypedData({
      domain: { name, version, chainId: BASE_SEPOLIA.chainId, verifyingContract: config.token },
      types: receiveWithAuthorizationTypes,
      primaryType: "ReceiveWithAuthorization",
      message: { from: payer.address, to: collector, value: amount, validAfter: 0n, validBefore: maxUint256, nonce },
    });
    const types = [{ type: "uint256" }, { type: "uint256" }, { type: "bytes32" }, { type: "bytes" }] as const;
    const data = encodeAbiParameters(types, [0n, maxUint256, salt, signature]);
    return this.send(options.sender ?? payer, "deposit", [config, amount, collector, data]);
  }

  voucher(config: ChannelConfig, key: LocalAccount, maxClaimableAmount: bigint): Promise<Hex> {
    return key.signTypedData({ domain, types: voucherTypes, primaryType: "Voucher", message: { channelId: idOf(config), maxClaimableAmount } });
  }

  /** Rows as claim, claimWithSignature and claimAndSettle take them. */
  claimRows(rows: readonly ClaimRow[]): Promise<Args<"claim">[0]> {
    return Promise.all(
      rows.map(async ({ config, voucherKey, totalClaimed, ceiling = totalClaimed }) => ({
        voucher: { channel: config, maxClaimableAmount: ceiling },
        signature: await this.voucher(config, voucherKey, ceiling),
        totalClaimed,
      })),
    );
  }

  claimBatchSignature(authorizer: LocalAccount, rows: readonly ClaimRow[]): Promise<Hex> {
    const claims = rows.map(({ config, totalClaimed, ceiling = totalClaimed }) => ({ channelId: idOf(config), maxClaimableAmount: ceiling, totalClaimed }));
    return authorizer.signTypedData({ domain, types: claimBatchTypes, primaryType: "ClaimBatch", message: { claims } });
  }

  refundSignature(authorizer: LocalAccount, config: ChannelConfig, nonce: bigint, amount: bigint): Promise<Hex> {
    return authorizer.signTypedData({ domain, types: refundTypes, primaryType: "Refund", message: { channelId: idOf(config), nonce, amount } });
  }

  async packedRow({ config, voucherKey, totalClaimed, ceiling = totalClaimed }: ClaimRow): Promise<PackedRow> {
    const { payer, payerAuthorizer, salt } = config;
    const signature = await this.voucher(config, voucherKey, ceiling);
    return { payer, payerAuthorizer, salt, maxClaimableAmount: ceiling, totalClaimed, signature };
  }

  /** A group signed by its receiverAuthorizer, so that anyone may send it. */
  async packedGroup(authorizer: LocalAccount, terms: ChannelConfig, rows: readonly PackedRow[], receiptsRoot: Hex = zeroHash): Promise<PackedGroup> {
    const { receiver, receiverAuthorizer, token, withdrawDelay } = terms;
    const message = { receiver, receiverAuthorizer, token, withdrawDelay, receiptsRoot, rows: encodePackedRows(rows) };
    const authorization = await authorizer.signTypedData({ domain, types: packedClaimTypes, primaryType: "PackedClaim", message });
    return { ...message, authorization };
  }
}
