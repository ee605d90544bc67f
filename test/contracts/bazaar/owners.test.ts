// Who owns a service, on a chain with real ERC-8004 registries: an identity that is sold, an account by EIP-7702 with a real
// type 4 transaction; and ratings that reach the reputation registry.
import { expect } from "chai";
import type { Contract } from "ethers";
import { encodeAbiParameters, keccak256, toHex, type Address, type Hex } from "viem";
import { listServiceDigest } from "../../../sdk/src/bazaar-messages.ts";
import { serviceIdOf, termsRefOf } from "../../../sdk/src/bazaar.ts";
import { AGENT_OWNER, BY_SENDER, bazaarAs, createBazaarWorld, identityKey, opinionOf, PAY_TO, PROVIDER, providerKey, ratingArgs, termsOf, type BazaarWorld } from "../../support/bazaar-world.ts";
import { actor, channelOf, channelsAs, CHAIN_ID, claimRow, openChannel, send, signDigest, signerFor, VALID_BEFORE_S } from "../../support/session-world.ts";

describe("owners of services", () => {
  let world: BazaarWorld;
  beforeEach(async () => void (world = await createBazaarWorld()));
  afterEach(() => world.connection.close());
  const refused = (act: Promise<unknown>, error: string) => expect(act).to.be.revertedWithCustomError(world.bazaar, error);

  it("agent 0, sold: its buyer has its services, and its wallet is unset", async () => {
    const [buyer, key] = [actor("buyer"), identityKey(1n)];
    const [asSeller, asBuyer] = [await bazaarAs(world, AGENT_OWNER), await bazaarAs(world, buyer)];
    await send(asSeller, "list", key, termsOf(world), true, BY_SENDER);
    const identities = world.identities.connect(await signerFor(world, AGENT_OWNER.address)) as Contract;
    await send(identities, "transferFrom", AGENT_OWNER.address, buyer.address, 0n);
    expect(BigInt((await world.identities.getFunction("getAgentWallet")(0n)) as string)).to.equal(0n);
    await refused(send(asSeller, "setStatus", key, 5, BY_SENDER), "NotOwner");
    await send(asBuyer, "update", key, termsRefOf(termsOf(world)), termsOf(world, { price: 9n }), BY_SENDER);
    expect(await world.bazaar.getFunction("isCurrent")(serviceIdOf(world.bazaarDomain, key), termsOf(world, { price: 9n }))).to.equal(true);
  });

  it("an EIP-7702 account lists by ERC-1271 alone", async () => {
    const code = (await (await world.ethers.deployContract("SmartAccount")).getAddress()) as Address;
    const wallet = new world.ethers.Wallet(PROVIDER.key, world.ethers.provider);
    const authorization = await wallet.authorize({ address: code, chainId: CHAIN_ID, nonce: await world.ethers.provider.getTransactionCount(PROVIDER.address) });
    await (await world.relayer.sendTransaction({ type: 4, to: PAY_TO.address, authorizationList: [authorization] })).wait();
    const message = { serviceId: serviceIdOf(world.bazaarDomain, providerKey(1n)), terms: termsOf(world), publish: true, deadline: VALID_BEFORE_S };
    const digest = listServiceDigest(world.bazaarDomain, message);
    const list = (signature: Hex) => send(world.bazaar, "list", providerKey(1n), message.terms, true, { deadline: VALID_BEFORE_S, signature });
    await refused(list(await signDigest(PROVIDER.key, digest)), "InvalidSignature");
    const types = [{ type: "uint256" }, { type: "address" }, { type: "bytes32" }] as const;
    await list(await signDigest(PROVIDER.key, keccak256(encodeAbiParameters(types, [BigInt(CHAIN_ID), PROVIDER.address, digest]))));
  });

  it("a rating reaches the reputation registry, unless the agent's owner made the bazaar its operator to prevent it", async () => {
    const [payer, key, details] = [actor("payer"), identityKey(2n), keccak256(toHex("why"))];
    await send(await bazaarAs(world, AGENT_OWNER), "list", key, termsOf(world), true, BY_SENDER);
    const channel = channelOf(world, payer, PAY_TO.address);
    await openChannel(world, channel);
    await send(await channelsAs(world, channel.config.receiverAuthorizer), "claim", [await claimRow(world, channel, 2_000n)]);
    const asPayer = await bazaarAs(world, payer);
    const rate = (claimed: bigint) => send(asPayer, "rateChannel", ...ratingArgs(world, key, channel, claimed, opinionOf(87, { details, forward: true })));
    const id = serviceIdOf(world.bazaarDomain, key);
    await expect(rate(1_000n).then(({ hash }) => world.ethers.provider.getTransaction(hash))).to.emit(world.bazaar, "RatingForwarded").withArgs(id, 0n, channel.id, true);
    const [value, decimals, tag] = (await world.reputation.getFunction("readFeedback")(0n, world.bazaarAddress, 1n)) as [bigint, bigint, string];
    expect([value, decimals, tag]).to.deep.equal([87n, 0n, "starred"]);

    const identities = world.identities.connect(await signerFor(world, AGENT_OWNER.address)) as Contract;
    await send(identities, "setApprovalForAll", world.bazaarAddress, true);
    await expect(rate(2_000n).then(({ hash }) => world.ethers.provider.getTransaction(hash))).to.emit(world.bazaar, "RatingForwarded").withArgs(id, 0n, channel.id, false);
    expect(((await world.bazaar.getFunction("ratings")(id, world.usdcAddress)) as { count: bigint }).count).to.equal(2n);
  });
});
