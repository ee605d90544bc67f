import { BATCH_SETTLEMENT_ADDRESS, BATCH_SETTLEMENT_DOMAIN, ERC3009_DEPOSIT_COLLECTOR_ADDRESS } from "@x402/evm";
import { expect } from "chai";
import { getAddress, getContract, hashDomain, multicall3Abi, pad, zeroAddress, type Abi, type Address } from "viem";
import { disputeEvaluatorAbi } from "../../sdk/src/abi/dispute-evaluator.ts";
import { erc3009DepositCollectorAbi } from "../../sdk/src/abi/erc3009-deposit-collector.ts";
import { jobEscrowAbi } from "../../sdk/src/abi/job-escrow.ts";
import { sessionChannelsAbi } from "../../sdk/src/abi/session-channels.ts";
import { testUSDCAbi } from "../../sdk/src/abi/test-usdc.ts";
import { BASE_SEPOLIA, ERC3009_COLLECTOR, LOCAL_DISPUTE_EVALUATOR, LOCAL_JOB_ESCROW, LOCAL_MANDATE_REGISTRY, MULTICALL3, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { channelIdOf, sessionChannelsDomain, voucherDigest, type ChannelConfig } from "../../sdk/src/typed-data.ts";
import { placeContracts, USDC_ADMIN } from "../../scripts/local/contracts.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";

describe("contracts of the local world", function () {
  this.timeout(120_000); // compiles on a fresh checkout
  let chain: TestChain;
  before(async () => void (chain = await startTestChain()));
  after(() => chain.stop());

  const domain = sessionChannelsDomain(BASE_SEPOLIA.chainId, SESSION_CHANNELS);
  const usdc = () => getContract({ client: chain.client, address: BASE_SEPOLIA.usdc.address, abi: testUSDCAbi });
  const channels = () => getContract({ client: chain.client, address: SESSION_CHANNELS, abi: sessionChannelsAbi });

  it("stand where stock clients look for them", () => {
    expect(SESSION_CHANNELS).to.equal(BATCH_SETTLEMENT_ADDRESS);
    expect(ERC3009_COLLECTOR).to.equal(ERC3009_DEPOSIT_COLLECTOR_ADDRESS);
    expect({ name: domain.name, version: domain.version }).to.deep.equal(BATCH_SETTLEMENT_DOMAIN);
  });

  it("carry Base Sepolia's chain id", async () => {
    expect(await chain.client.getChainId()).to.equal(BASE_SEPOLIA.chainId);
  });

  it("hash channels and vouchers under the domain of their own address", async () => {
    const [, name, version, chainId, verifyingContract] = await channels().read.eip712Domain();
    expect({ name, version, chainId: Number(chainId), verifyingContract }).to.deep.equal(domain);
    const config: ChannelConfig = {
      payer: pad("0x01", { size: 20 }),
      payerAuthorizer: pad("0x02", { size: 20 }),
      receiver: pad("0x03", { size: 20 }),
      receiverAuthorizer: pad("0x04", { size: 20 }),
      token: BASE_SEPOLIA.usdc.address,
      withdrawDelay: 900,
      salt: pad("0x05"),
    };
    const channelId = channelIdOf(domain, config);
    expect(await channels().read.getChannelId([config])).to.equal(channelId);
    expect(await channels().read.getVoucherDigest([channelId, 7n])).to.equal(voucherDigest(domain, channelId, 7n));
  });

  it("have the collector serve SessionChannels", async () => {
    const collector = getContract({ client: chain.client, address: ERC3009_COLLECTOR, abi: erc3009DepositCollectorAbi });
    expect(await collector.read.x402BatchSettlement()).to.equal(SESSION_CHANNELS);
  });

  it("have the job escrow hold USDC, and its evaluator judge for it", async () => {
    const read = (address: Address, abi: Abi, functionName: string) => chain.client.readContract({ address, abi, functionName });
    expect(await read(LOCAL_JOB_ESCROW, jobEscrowAbi, "token")).to.equal(BASE_SEPOLIA.usdc.address);
    expect(await read(LOCAL_JOB_ESCROW, jobEscrowAbi, "mandateRegistry")).to.equal(getAddress(LOCAL_MANDATE_REGISTRY));
    expect(await read(LOCAL_DISPUTE_EVALUATOR, disputeEvaluatorAbi, "escrow")).to.equal(getAddress(LOCAL_JOB_ESCROW));
    expect(await read(LOCAL_DISPUTE_EVALUATOR, disputeEvaluatorAbi, "token")).to.equal(BASE_SEPOLIA.usdc.address);
  });

  it("have USDC with Circle's domain, minted by its admin", async () => {
    const { name, version, address } = BASE_SEPOLIA.usdc;
    const separator = hashDomain({
      domain: { name, version, chainId: BigInt(BASE_SEPOLIA.chainId), verifyingContract: address },
      types: {
        EIP712Domain: [
          { name: "name", type: "string" },
          { name: "version", type: "string" },
          { name: "chainId", type: "uint256" },
          { name: "verifyingContract", type: "address" },
        ],
      },
    });
    expect(await usdc().read.DOMAIN_SEPARATOR()).to.equal(separator);
    expect(await usdc().read.admin()).to.equal(USDC_ADMIN);
    await chain.mintUSDC(chain.account(3).address, 5n);
    expect(await usdc().read.balanceOf([chain.account(3).address])).to.equal(5n);
  });

  it("have Multicall3 answer", async () => {
    const [block] = await chain.client.multicall({
      multicallAddress: MULTICALL3,
      contracts: [{ address: MULTICALL3, abi: multicall3Abi, functionName: "getCurrentBlockTimestamp" }],
      allowFailure: false,
    });
    expect(block).to.equal((await chain.client.getBlock()).timestamp);
  });

  it("are left as they are when placed again", async () => {
    const before = await chain.client.getCode({ address: SESSION_CHANNELS });
    const supply = await usdc().read.totalSupply();
    await placeContracts(chain.url);
    expect(await chain.client.getCode({ address: SESSION_CHANNELS })).to.equal(before);
    expect(await usdc().read.totalSupply()).to.equal(supply);
    expect(await usdc().read.admin()).to.not.equal(zeroAddress);
  });
});
