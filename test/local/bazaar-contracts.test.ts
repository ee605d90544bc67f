// The bazaar's contracts in the local world: at their fixed addresses, built with each other, and usable there.
import { expect } from "chai";
import { decodeEventLog, encodeFunctionData, getAddress, type Hex } from "viem";
import { bazaarRegistryAbi } from "../../sdk/src/abi/bazaar-registry.ts";
import { identityRegistryAbi } from "../../sdk/src/abi/identity-registry.ts";
import { reputationRegistryAbi } from "../../sdk/src/abi/reputation-registry.ts";
import { agentKey } from "../../sdk/src/bazaar.ts";
import { BASE_SEPOLIA, LOCAL_BAZAAR_REGISTRY, LOCAL_IDENTITY_REGISTRY, LOCAL_REPUTATION_REGISTRY, SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { rpc } from "../../scripts/local/chain.ts";
import { USDC_ADMIN } from "../../scripts/local/contracts.ts";
import { startTestChain, type TestChain } from "../support/chain.ts";

describe("the bazaar in the local world", function () {
  this.timeout(240_000); // compiles on a fresh checkout
  let chain: TestChain;
  before(async () => void (chain = await startTestChain()));
  after(() => chain.stop());

  it("is built with the local registries, our channels and test USDC", async () => {
    const read = (functionName: "identityRegistry" | "reputationRegistry" | "sessionChannels" | "publishedChannels" | "bondToken") =>
      chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName });
    expect(await Promise.all([read("identityRegistry"), read("reputationRegistry"), read("sessionChannels"), read("publishedChannels"), read("bondToken")])).to.deep.equal(
      [LOCAL_IDENTITY_REGISTRY, LOCAL_REPUTATION_REGISTRY, SESSION_CHANNELS, SESSION_CHANNELS, BASE_SEPOLIA.usdc.address].map((address) => getAddress(address)),
    );
    expect(await chain.client.readContract({ address: LOCAL_REPUTATION_REGISTRY, abi: reputationRegistryAbi, functionName: "getIdentityRegistry" })).to.equal(getAddress(LOCAL_IDENTITY_REGISTRY));
    const [, name, , , verifyingContract] = await chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName: "eip712Domain" });
    expect([name, verifyingContract]).to.deep.equal(["Tallystick Bazaar Registry", getAddress(LOCAL_BAZAAR_REGISTRY)]);
  });

  it("knows agents of the local identity registry, from 0 on", async () => {
    const data = encodeFunctionData({ abi: identityRegistryAbi, functionName: "register", args: ["https://agent.example/agent.json"] });
    const hash = await rpc<Hex>(chain.url, "eth_sendTransaction", [{ from: USDC_ADMIN, to: LOCAL_IDENTITY_REGISTRY, data }]);
    const { logs } = await chain.client.waitForTransactionReceipt({ hash });
    const events = logs.map((log) => decodeEventLog({ abi: identityRegistryAbi, ...log }));
    expect(events.find(({ eventName }) => eventName === "Registered")?.args).to.include({ agentId: 0n, owner: getAddress(USDC_ADMIN) });
    const owner = await chain.client.readContract({ address: LOCAL_BAZAAR_REGISTRY, abi: bazaarRegistryAbi, functionName: "serviceOwner", args: [agentKey(0n, `0x${"00".repeat(32)}`)] });
    expect(owner).to.equal(getAddress(USDC_ADMIN));
  });
});
