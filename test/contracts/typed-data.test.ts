// EIP-712 types have one home, sdk/src/typed-data.ts. Here every type hash, the domain and digests of random messages are
// compared between that file, the contracts and the published vectors.
import { readFileSync } from "node:fs";
import { expect } from "chai";
import type { Contract } from "ethers";
import fc from "fast-check";
import {
  decodeAbiParameters,
  encodeAbiParameters,
  getAddress,
  hashDomain,
  hashTypedData,
  keccak256,
  toHex,
  type Address,
  type Hex,
  type TypedDataDomain,
} from "viem";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import * as typedData from "../../sdk/src/typed-data.ts";
import {
  actor,
  channelOf,
  createSessionWorld,
  DEPOSIT_ATOMIC,
  erc3009Data,
  send,
  signDigest,
  signerFor,
  VALID_BEFORE_S,
  type SessionWorld,
} from "../support/session-world.ts";

type Fields = readonly { name: string; type: string }[];

/** Bytes of the vectors as the published files carry them. */
type Vector = { input: unknown; expected_digest: Hex; expected_bytes: Hex; domain: TypedDataDomain };
function vector(name: string): Vector {
  return JSON.parse(readFileSync(new URL(`./vectors/${name}.json`, import.meta.url), "utf8")) as Vector;
}

/** EIP-712 encodeType for a struct whose only nested type is `nested`. */
function typehash(types: Record<string, Fields>, primary: string): Hex {
  const encode = (name: string) => `${name}(${(types[name] ?? []).map(({ type, name }) => `${type} ${name}`).join(",")})`;
  const nested = Object.keys(types).filter((name) => name !== primary).sort();
  return keccak256(toHex([primary, ...nested].map(encode).join("")));
}

const address = fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(toHex(bytes)));
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => toHex(bytes));
const uint = (bits: number) => fc.bigInt({ min: 0n, max: (1n << BigInt(bits)) - 1n });
const channelConfig = fc.record({
  payer: address,
  payerAuthorizer: address,
  receiver: address,
  receiverAuthorizer: address,
  token: address,
  withdrawDelay: uint(40).map(Number),
  salt: bytes32,
});
const RUNS = { numRuns: 40 };

describe("typed data", () => {
  let world: SessionWorld;
  let channels: Contract;
  before(async () => {
    world = await createSessionWorld();
    channels = world.channels;
  });
  after(() => world.connection.close());

  const call = (contract: Contract, name: string, ...args: unknown[]): Promise<unknown> => contract.getFunction(name)(...args);

  describe("type hashes", () => {
    const cases: [string, Record<string, Fields>, string][] = [
      ["CHANNEL_CONFIG_TYPEHASH", typedData.channelConfigTypes, "ChannelConfig"],
      ["VOUCHER_TYPEHASH", typedData.voucherTypes, "Voucher"],
      ["REFUND_TYPEHASH", typedData.refundTypes, "Refund"],
      ["CLAIM_ENTRY_TYPEHASH", { ClaimEntry: typedData.claimBatchTypes.ClaimEntry }, "ClaimEntry"],
      ["CLAIM_BATCH_TYPEHASH", typedData.claimBatchTypes, "ClaimBatch"],
      ["PACKED_CLAIM_TYPEHASH", typedData.packedClaimTypes, "PackedClaim"],
      ["WITHDRAW_REQUEST_TYPEHASH", typedData.withdrawRequestTypes, "WithdrawRequest"],
    ];
    for (const [getter, types, primary] of cases) {
      it(primary, async () => expect(await call(channels, getter)).to.equal(typehash(types, primary)));
    }

    it("DepositAuthorization", async () => {
      const expected = typehash(typedData.depositAuthorizationTypes, "DepositAuthorization");
      expect(await call(world.allowanceCollector, "DEPOSIT_AUTHORIZATION_TYPEHASH")).to.equal(expected);
    });

    it("ReceiveWithAuthorization", async () => {
      const expected = typehash(typedData.receiveWithAuthorizationTypes, "ReceiveWithAuthorization");
      expect(await call(world.usdc, "RECEIVE_WITH_AUTHORIZATION_TYPEHASH")).to.equal(expected);
    });
  });

  describe("domains", () => {
    const domainOf = async (contract: Contract) => {
      const [, name, version, chainId, verifyingContract] = (await call(contract, "eip712Domain")) as [
        string, string, string, bigint, Address,
      ];
      return { name, version, chainId: Number(chainId), verifyingContract };
    };

    it("SessionChannels", async () => expect(await domainOf(channels)).to.deep.equal(world.domain));

    it("AllowanceDepositCollector", async () => {
      const collector = (await world.allowanceCollector.getAddress()) as Address;
      const expected = typedData.allowanceCollectorDomain(world.domain.chainId, collector);
      expect(await domainOf(world.allowanceCollector)).to.deep.equal(expected);
    });

    it("test USDC", async () => {
      expect(await call(world.usdc, "DOMAIN_SEPARATOR")).to.equal(separator(world.usdcDomain));
    });
  });

  describe("digests of random messages", () => {
    it("ChannelConfig, the channel id", async () => {
      await fc.assert(
        fc.asyncProperty(channelConfig, async (config) => {
          expect(await call(channels, "getChannelId", config)).to.equal(typedData.channelIdOf(world.domain, config));
        }),
        RUNS,
      );
    });

    it("Voucher", async () => {
      await fc.assert(
        fc.asyncProperty(bytes32, uint(128), async (channelId, ceiling) => {
          const expected = typedData.voucherDigest(world.domain, channelId, ceiling);
          expect(await call(channels, "getVoucherDigest", channelId, ceiling)).to.equal(expected);
        }),
        RUNS,
      );
    });

    it("Refund", async () => {
      await fc.assert(
        fc.asyncProperty(bytes32, uint(256), uint(128), async (channelId, nonce, amount) => {
          const message = { channelId, nonce, amount };
          const types = typedData.refundTypes;
          const expected = hashTypedData({ domain: world.domain, types, primaryType: "Refund", message });
          expect(await call(channels, "getRefundDigest", channelId, nonce, amount)).to.equal(expected);
        }),
        RUNS,
      );
    });

    it("WithdrawRequest", async () => {
      await fc.assert(
        fc.asyncProperty(bytes32, uint(128), uint(256), async (channelId, amount, deadline) => {
          const message = { channelId, amount, deadline };
          const types = typedData.withdrawRequestTypes;
          const expected = hashTypedData({ domain: world.domain, types, primaryType: "WithdrawRequest", message });
          expect(await call(channels, "getWithdrawRequestDigest", channelId, amount, deadline)).to.equal(expected);
        }),
        RUNS,
      );
    });

    it("ClaimBatch, of up to five rows", async () => {
      const row = fc.record({ config: channelConfig, ceiling: uint(128), totalClaimed: uint(128) });
      await fc.assert(
        fc.asyncProperty(fc.array(row, { maxLength: 5 }), async (rows) => {
          const claims = rows.map(({ config, ceiling, totalClaimed }) => ({
            channelId: typedData.channelIdOf(world.domain, config),
            maxClaimableAmount: ceiling,
            totalClaimed,
          }));
          const types = typedData.claimBatchTypes;
          const expected = hashTypedData({ domain: world.domain, types, primaryType: "ClaimBatch", message: { claims } });
          const voucherClaims = rows.map(({ config, ceiling, totalClaimed }) => ({
            voucher: { channel: config, maxClaimableAmount: ceiling },
            signature: "0x",
            totalClaimed,
          }));
          expect(await call(channels, "getClaimBatchDigest", voucherClaims)).to.equal(expected);
        }),
        RUNS,
      );
    });

    it("PackedClaim", async () => {
      const group = fc.record({
        receiver: address,
        receiverAuthorizer: address,
        token: address,
        withdrawDelay: uint(40).map(Number),
        receiptsRoot: bytes32,
        rows: fc.uint8Array({ maxLength: 400 }).map((bytes) => toHex(bytes)),
      });
      await fc.assert(
        fc.asyncProperty(group, async (message) => {
          const types = typedData.packedClaimTypes;
          const expected = hashTypedData({ domain: world.domain, types, primaryType: "PackedClaim", message });
          expect(await call(channels, "getPackedClaimDigest", { ...message, authorization: "0x" })).to.equal(expected);
        }),
        RUNS,
      );
    });

    it("DepositAuthorization", async () => {
      const collector = (await world.allowanceCollector.getAddress()) as Address;
      const domain = typedData.allowanceCollectorDomain(world.domain.chainId, collector);
      await fc.assert(
        fc.asyncProperty(bytes32, address, uint(256), uint(256), uint(256), async (channelId, token, amount, nonce, deadline) => {
          const message = { channelId, token, amount, nonce, deadline };
          const types = typedData.depositAuthorizationTypes;
          const expected = hashTypedData({ domain, types, primaryType: "DepositAuthorization", message });
          const args = [channelId, token, amount, nonce, deadline];
          expect(await call(world.allowanceCollector, "getDepositAuthorizationDigest", ...args)).to.equal(expected);
        }),
        RUNS,
      );
    });
  });

  describe("published vectors", () => {
    // The vectors' domain names the published address: the same creation code runs there.
    let published: Contract;
    before(async () => {
      published = await placeAtPublishedAddress(world);
    });

    it("L2.1 ChannelConfig", async () => {
      const { domain, input, expected_digest } = vector("L2.1-channel-config");
      expect(separator(domain)).to.equal(separator(typedData.sessionChannelsDomain(84532, SESSION_CHANNELS)));
      expect(typedData.channelIdOf(domain as typeof world.domain, input as never)).to.equal(expected_digest);
      expect(await call(published, "getChannelId", input)).to.equal(expected_digest);
    });

    it("L2.2 Voucher", async () => {
      const { domain, input, expected_digest } = vector("L2.2-voucher");
      const { channelId, maxClaimableAmount } = input as { channelId: Hex; maxClaimableAmount: string };
      const digest = typedData.voucherDigest(domain as typeof world.domain, channelId, BigInt(maxClaimableAmount));
      expect(digest).to.equal(expected_digest);
      expect(await call(published, "getVoucherDigest", channelId, maxClaimableAmount)).to.equal(expected_digest);
    });

    it("L2.3 ClaimBatch", async () => {
      const { domain, input, expected_digest } = vector("L2.3-claim-batch");
      const types = typedData.claimBatchTypes;
      expect(hashTypedData({ domain, types, primaryType: "ClaimBatch", message: input as never })).to.equal(expected_digest);

      const [entry] = (input as { claims: { maxClaimableAmount: string; totalClaimed: string }[] }).claims;
      const { input: config } = vector("L2.1-channel-config");
      const voucher = { channel: config, maxClaimableAmount: entry?.maxClaimableAmount };
      const claims = [{ voucher, signature: "0x", totalClaimed: entry?.totalClaimed }];
      expect(await call(published, "getClaimBatchDigest", claims)).to.equal(expected_digest);
    });

    it("L2.4 Refund", async () => {
      const { domain, input, expected_digest } = vector("L2.4-refund");
      const { channelId, nonce, amount } = input as { channelId: Hex; nonce: string; amount: string };
      const message = { channelId, nonce: BigInt(nonce), amount: BigInt(amount) };
      const types = typedData.refundTypes;
      expect(hashTypedData({ domain, types, primaryType: "Refund", message })).to.equal(expected_digest);
      expect(await call(published, "getRefundDigest", channelId, nonce, amount)).to.equal(expected_digest);
    });

    it("L2.5 deposit nonce", () => {
      const { input, expected_bytes } = vector("L2.5-erc3009-deposit-nonce");
      const { channelId, salt } = input as { channelId: Hex; salt: Hex };
      const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [channelId, salt]));
      expect(nonce).to.equal(expected_bytes);
    });

    it("L2.6 collector data", () => {
      const { input, expected_bytes } = vector("L2.6-erc3009-collector-data");
      const { validAfter, validBefore, salt, signature } = input as Record<string, Hex>;
      const decoded = decodeAbiParameters(COLLECTOR_DATA, expected_bytes);
      expect(decoded).to.deep.equal([BigInt(validAfter ?? ""), BigInt(validBefore ?? ""), salt, signature]);
      expect(encodeAbiParameters(COLLECTOR_DATA, decoded)).to.equal(expected_bytes);
    });

    // L2.5 and L2.6 are bytes that the contracts read, not digests that they answer: a deposit proves both.
    for (const path of ["the built-in path", "ERC3009DepositCollector"] as const) {
      it(`L2.5 and L2.6 are what ${path} reads`, async () => {
        const collector = path === "the built-in path" ? world.channels : world.erc3009Collector;
        const to = (await collector.getAddress()) as Address;
        const channel = channelOf(world, actor(`depositor by ${path}`), actor("receiver").address);
        await send(world.usdc, "mint", channel.config.payer, DEPOSIT_ATOMIC);
        const salt = toHex(7n, { size: 32 });
        const data = await erc3009Data(world, channel, DEPOSIT_ATOMIC, { salt, to });
        expect(decodeAbiParameters(COLLECTOR_DATA, data).slice(0, 3)).to.deep.equal([0n, VALID_BEFORE_S, salt]);
        await send(channels, "deposit", channel.config, DEPOSIT_ATOMIC, to, data);

        const nonce = keccak256(encodeAbiParameters([{ type: "bytes32" }, { type: "bytes32" }], [channel.id, salt]));
        expect(await call(world.usdc, "authorizationState", channel.config.payer, nonce)).to.equal(true);
        expect(await call(channels, "channels", channel.id)).to.deep.equal([DEPOSIT_ATOMIC, 0n]);
      });
    }
  });

  it("AllowanceDepositCollector deposits by a DepositAuthorization, once", async () => {
    const collector = (await world.allowanceCollector.getAddress()) as Address;
    const channel = channelOf(world, actor("allowing payer"), actor("receiver").address);
    await send(world.usdc, "mint", channel.config.payer, 2n * DEPOSIT_ATOMIC);
    const asPayer = world.usdc.connect(await signerFor(world, channel.config.payer)) as Contract;
    await send(asPayer, "approve", collector, 2n * DEPOSIT_ATOMIC);

    const message = {
      channelId: channel.id,
      token: world.usdcAddress,
      amount: DEPOSIT_ATOMIC,
      nonce: 300n,
      deadline: VALID_BEFORE_S,
    };
    const domain = typedData.allowanceCollectorDomain(world.domain.chainId, collector);
    const types = typedData.depositAuthorizationTypes;
    const digest = hashTypedData({ domain, types, primaryType: "DepositAuthorization", message });
    const data = encodeAbiParameters(
      [{ type: "uint256" }, { type: "uint256" }, { type: "bytes" }],
      [message.nonce, message.deadline, await signDigest(channel.payerKey, digest)],
    );
    await send(channels, "deposit", channel.config, DEPOSIT_ATOMIC, collector, data);
    expect(await call(channels, "channels", channel.id)).to.deep.equal([DEPOSIT_ATOMIC, 0n]);

    await expect(channels.getFunction("deposit")(channel.config, DEPOSIT_ATOMIC, collector, data))
      .to.be.revertedWithCustomError(world.allowanceCollector, "NonceAlreadyUsed")
      .withArgs(channel.config.payer, message.nonce);
  });
});

const COLLECTOR_DATA = [{ type: "uint256" }, { type: "uint256" }, { type: "bytes32" }, { type: "bytes" }] as const;

const DOMAIN_TYPE = [
  { name: "name", type: "string" },
  { name: "version", type: "string" },
  { name: "chainId", type: "uint256" },
  { name: "verifyingContract", type: "address" },
];

function separator(domain: TypedDataDomain): Hex {
  return hashDomain({ domain: domain as never, types: { EIP712Domain: DOMAIN_TYPE } });
}

/** Puts the creation code at the published address, calls it, and keeps its answer as the code: immutables come right. */
async function placeAtPublishedAddress(world: SessionWorld): Promise<Contract> {
  const { bytecode } = await world.ethers.getContractFactory("SessionChannels");
  const { provider } = world.connection;
  await provider.request({ method: "hardhat_setCode", params: [SESSION_CHANNELS, bytecode] });
  const runtime = await provider.request({ method: "eth_call", params: [{ to: SESSION_CHANNELS }, "latest"] });
  await provider.request({ method: "hardhat_setCode", params: [SESSION_CHANNELS, runtime] });
  return world.ethers.getContractAt("SessionChannels", SESSION_CHANNELS);
}
