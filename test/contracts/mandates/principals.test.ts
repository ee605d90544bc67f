// Who may grant and spend, and through which channel contracts, on a chain: an account by EIP-7702 with a real type 4
// transaction, and a channel contract that has only the published interface.
import { expect } from "chai";
import type { Contract } from "ethers";
import { encodeAbiParameters, keccak256, maxUint128, type Address, type Hex } from "viem";
import { mandateDepositData, mandateDepositDigest, mandateRevocationDigest, spendOrder } from "../../../sdk/src/mandate-messages.ts";
import { channelIdOf, sessionChannelsDomain } from "../../../sdk/src/typed-data.ts";
import { AGENT, createMandateWorld, depositData, deployRegistry, idOf, mandateOf, PAYEE, PRINCIPAL, registryAs, signMandate, STRANGER, type MandateWorld } from "../../support/mandate-world.ts";
import { CHAIN_ID, channelOf, DEPOSIT_ATOMIC, send, signDigest, signerFor, signWithdrawRequest, VALID_BEFORE_S } from "../../support/session-world.ts";

describe("principals and channel contracts", () => {
  let world: MandateWorld;
  beforeEach(async () => void (world = await createMandateWorld()));
  afterEach(() => world.connection.close());
  const balanceOf = (owner: Address) => world.usdc.getFunction("balanceOf")(owner) as Promise<bigint>;
  const refused = (act: Promise<unknown>, error: string) => expect(act).to.be.revertedWithCustomError(world.registry, error);

  describe("an EIP-7702 account", () => {
    /** Installs the code on the principal's account by a transaction of type 4, which somebody else sends. */
    async function install(): Promise<void> {
      const code = (await (await world.ethers.deployContract("SmartAccount")).getAddress()) as Address;
      const wallet = new world.ethers.Wallet(PRINCIPAL.key, world.ethers.provider);
      const nonce = await world.ethers.provider.getTransactionCount(PRINCIPAL.address);
      const authorization = await wallet.authorize({ address: code, chainId: CHAIN_ID, nonce });
      const sent = await world.relayer.sendTransaction({ type: 4, to: STRANGER.address, authorizationList: [authorization] });
      expect((await sent.wait())?.status).to.equal(1);
      expect(await world.ethers.provider.getCode(PRINCIPAL.address)).to.equal(`0xef0100${code.slice(2).toLowerCase()}`);
    }

    /** As the account's code wants it signed. */
    const bound = (digest: Hex) => {
      const types = [{ type: "uint256" }, { type: "address" }, { type: "bytes32" }] as const;
      return signDigest(PRINCIPAL.key, keccak256(encodeAbiParameters(types, [BigInt(CHAIN_ID), PRINCIPAL.address, digest])));
    };

    it("grants by ERC-1271 alone, and its mandates of before stand", async () => {
      const [before, after] = [mandateOf(world), mandateOf(world, { limit: 2_000n })];
      await send(world.registry, "approveWithSignature", [before], await signMandate(world, PRINCIPAL, before));
      await install();
      await refused(send(world.registry, "approveWithSignature", [after], await signMandate(world, PRINCIPAL, after)), "InvalidSignature");
      await send(world.registry, "approveWithSignature", [after], await bound(idOf(world, after)));
      const asAgent = await registryAs(world, AGENT);
      for (const mandate of [before, after]) await send(asAgent, "spend", spendOrder({ lineage: [mandate], payee: PAYEE.address, amount: 700n }));
      expect(await balanceOf(PAYEE.address)).to.equal(1_400n);
    });

    it("approves, revokes and bumps its epoch as the sender, and revokes by signature", async () => {
      await install();
      const [first, second] = [mandateOf(world), mandateOf(world, { limit: 2_000n })];
      const asPrincipal = await registryAs(world, PRINCIPAL);
      await send(asPrincipal, "approve", [first]);
      await send(asPrincipal, "approve", [second]);
      await send(asPrincipal, "revoke", [first]);
      const order = mandateRevocationDigest(world.registryDomain, idOf(world, second));
      await refused(send(world.registry, "revokeWithSignature", [second], [], PRINCIPAL.address, await signDigest(PRINCIPAL.key, order)), "InvalidSignature");
      await send(world.registry, "revokeWithSignature", [second], [], PRINCIPAL.address, await bound(order));
      const asAgent = await registryAs(world, AGENT);
      for (const mandate of [first, second]) await refused(send(asAgent, "spend", spendOrder({ lineage: [mandate], payee: PAYEE.address, amount: 1n })), "MandateIsRevoked");
      await send(asPrincipal, "bumpEpoch");
      expect(await world.registry.getFunction("epochs")(PRINCIPAL.address)).to.equal(1n);
      expect(await balanceOf(PAYEE.address)).to.equal(0n);
    });
  });

  describe("a channel contract with the published interface alone", () => {
    let pinned: Contract;
    let pinnedAddress: Address;
    beforeEach(async () => {
      pinned = await world.ethers.deployContract("PinnedChannels");
      pinnedAddress = (await pinned.getAddress()) as Address;
      // Another registry in the same world, which funds this one and ours.
      world = { ...world, ...(await deployRegistry(world, pinnedAddress)) };
      await send(await registryAs(world, PRINCIPAL), "approve", [mandateOf(world)]);
    });

    async function pinnedData(nonce: bigint, amount = 5_000n): Promise<Hex> {
      const { config } = channelOf(world, PRINCIPAL, PAYEE.address);
      const id = channelIdOf(sessionChannelsDomain(CHAIN_ID, pinnedAddress), config);
      const row = { order: spendOrder({ lineage: [mandateOf(world)], payee: PAYEE.address, amount }), nonce, deadline: VALID_BEFORE_S };
      return mandateDepositData(config, { ...row, signature: await signDigest(AGENT.key, mandateDepositDigest(world.registryDomain, id, row)) });
    }

    it("is funded; what it gives back restores no budget", async () => {
      const { config } = channelOf(world, PRINCIPAL, PAYEE.address);
      const id = channelIdOf(sessionChannelsDomain(CHAIN_ID, pinnedAddress), config);
      const receipt = await send(pinned, "deposit", config, 5_000n, world.registryAddress, await pinnedData(0n));
      const funded = receipt.logs.map((log) => world.registry.interface.parseLog(log)).find((event) => event?.name === "ChannelFunded");
      expect(funded?.args.toArray()).to.deep.equal([idOf(world, mandateOf(world)), id, PRINCIPAL.address, pinnedAddress, 5_000n]);
      await send(pinned, "refund", config, 5_000n);
      expect(await balanceOf(PRINCIPAL.address)).to.equal(100n * DEPOSIT_ATOMIC);
      expect(await world.registry.getFunction("remaining")([mandateOf(world)])).to.equal(1_000_000n - 5_000n);
    });

    it("and ours do not take each other's consents", async () => {
      const ours = channelOf(world, PRINCIPAL, PAYEE.address);
      await refused(send(world.channels, "deposit", ours.config, 5_000n, world.registryAddress, await pinnedData(0n)), "InvalidSignature");
      const data = await depositData(world, AGENT, ours, { lineage: [mandateOf(world)], amount: 5_000n });
      await refused(send(pinned, "deposit", ours.config, 5_000n, world.registryAddress, data), "InvalidSignature");
      expect(await world.registry.getFunction("remaining")([mandateOf(world)])).to.equal(1_000_000n);
    });

    it("knows no consent to a withdrawal: the revocation stands all the same", async () => {
      const channel = channelOf(world, PRINCIPAL, PAYEE.address);
      await send(pinned, "deposit", channel.config, 5_000n, world.registryAddress, await pinnedData(0n));
      const signature = await signWithdrawRequest(world, channel, maxUint128, VALID_BEFORE_S);
      const withdrawal = { channels: pinnedAddress, config: channel.config, amount: maxUint128, deadline: VALID_BEFORE_S, signature };
      const receipt = await send(await registryAs(world, PRINCIPAL), "revokeAndWithdraw", [mandateOf(world)], [withdrawal]);
      const names = receipt.logs.map((log) => world.registry.interface.parseLog(log)?.name);
      expect(names).to.deep.equal(["MandateRevoked", "WithdrawalSkipped"]);
      await refused(send(await registryAs(world, AGENT), "spend", spendOrder({ lineage: [mandateOf(world)], payee: PAYEE.address, amount: 1n })), "MandateIsRevoked");
      await send(pinned.connect(await signerFor(world, PRINCIPAL.address)) as Contract, "initiateWithdraw", channel.config, 5_000n);
    });
  });
});
