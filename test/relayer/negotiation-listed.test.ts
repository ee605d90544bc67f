// What is agreed for a service that is on chain is held to the registry: its id, its owner and whom it pays, when a policy or an offer comes,
// when it is taken, and whenever it is paid by.
import { expect } from "chai";
import { encodeFunctionData, zeroHash, type Hex, type LocalAccount } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";
import { bazaarRegistryAbi as abi } from "../../sdk/src/abi/bazaar-registry.ts";
import { termsRefOf } from "../../sdk/src/bazaar.ts";
import { contentHashOf } from "../../sdk/src/bazaar/metadata.ts";
import { metadataUri, saltOfName, serviceKeyOf, termsOfMetadata } from "../../sdk/src/bazaar/terms.ts";
import { LOCAL_BAZAAR_REGISTRY } from "../../sdk/src/constants.ts";
import type { Offer, PricePolicy } from "../../sdk/src/negotiation/messages.ts";
import { addressOf } from "../support/config.ts";
import { listingClientOf, metadataOf } from "../support/listing.ts";
import { agreed, liveOffer, negotiator, offerIn, policyOf, publishPolicy, randomHash, send, signedBody } from "../support/negotiation.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { Sessions } from "../support/session.ts";
import { until } from "../support/settlement-world.ts";

const OWNER = 12;

describe("negotiation of what is listed", function () {
  this.timeout(240_000);
  const [owner, thief] = [addressOf(OWNER), addressOf(9)];
  let world: TestWorld;
  let serviceId: Hex;
  before(async () => {
    world = await startTestWorld();
    serviceId = (await listingClientOf(world, OWNER).list({ name: "weather", origin: world.provider.origin, metadata: metadataOf() })).agent.id;
  });
  after(() => world.stop());

  const policy = (change: Partial<PricePolicy> = {}) => policyOf({ service: "weather", serviceId, capability: "weather.forecast", provider: owner, payTo: owner, ...change });
  const publish = (change: Partial<PricePolicy> = {}) => publishPolicy(world.url, policy(change), world.chain.account(OWNER) as LocalAccount);
  const told = ({ status, body }: { status: number; body: any }) => [status, body.code, body.field];
  async function funded(): Promise<LocalAccount> {
    const account = privateKeyToAccount(generatePrivateKey());
    await world.chain.mintUSDC(account.address, 1_000_000n);
    return account;
  }

  it("a policy names the listing and pays whom it pays; without a listing it names none", async () => {
    const mismatch = (field: string) => [409, "negotiation_listing_mismatch", `pricePolicy.${field}`];
    expect(told(await publish({ serviceId: zeroHash }))).deep.equal(mismatch("serviceId"));
    expect(told(await publish({ serviceId: randomHash() }))).deep.equal(mismatch("serviceId"));
    expect(told(await publish({ payTo: thief }))).deep.equal(mismatch("payTo"));
    expect(told(await publishPolicy(world.url, policyOf({ serviceId })))).deep.equal(mismatch("serviceId"));
    expect((await publish()).status).equal(200);
    expect((await publishPolicy(world.url, policyOf())).status).equal(200);
  });

  it("so does an offer that its provider makes itself", async () => {
    await publish();
    const agent = await funded();
    const { body: asked } = await negotiator(world.url, agent).ask({ service: "weather", maxPricePerRequest: 5_000n });
    const offer: Offer = { ...liveOffer(asked, agent.address, 5_000n), provider: owner, payTo: owner, service: "weather", serviceId };
    const make = async (change: Partial<Offer>) => send(world.url, "POST", `/api/v1/intents/${asked.intentId}/offers`, await signedBody(world.chain.account(OWNER) as LocalAccount, "Offer", { ...offer, ...change }));
    expect(told(await make({ serviceId: zeroHash }))).deep.equal([409, "negotiation_listing_mismatch", "offer.serviceId"]);
    expect(told(await make({ payTo: thief }))).deep.equal([409, "negotiation_listing_mismatch", "offer.payTo"]);
    expect((await make({})).status).equal(201);
  });

  it("once the payee is swapped on chain nothing is offered or taken, and a session that stands sells nothing", async () => {
    await publish();
    const agent = await funded();
    const { offer, buyer } = await agreed(world.url, agent, 80_000n, { service: "weather" });
    expect(offer.message).include({ serviceId, payTo: owner });
    expect((await buyer.open(500_000n)).status).equal(200);
    const by = negotiator(world.url, agent);
    const waiting = offerIn((await by.ask({ service: "weather" })).body.offers[0]).message;
    const metadata = metadataOf();
    const terms = termsOfMetadata(metadata, { payTo: owner, uri: metadataUri(world.relayer.deps.config.publicUrl, contentHashOf(metadata)) });
    const data = encodeFunctionData({ abi, functionName: "update", args: [serviceKeyOf(owner, saltOfName("weather")), termsRefOf(terms), { ...terms, payTo: thief }, { deadline: 0n, signature: "0x" as Hex }] });
    await new Sessions(world.chain).sendTo(world.chain.account(OWNER), LOCAL_BAZAAR_REGISTRY, data);
    await until(async () => world.relayer.deps.listings.find("weather")?.payTo === thief);
    const paid = await buyer.call();
    expect([paid.status, paid.body.code, paid.body.rule]).deep.equal([403, "firewall_rejected", "registry.pay_to"]);
    expect(told(await by.accept(waiting, 80_000n))).deep.equal([409, "negotiation_listing_mismatch", "offer.payTo"]);
    expect((await by.ask({ service: "weather" })).body).deep.include({ offers: [], declined: [{ service: "weather", reason: "its listing says otherwise: payTo" }] });
    expect(told(await publish())).deep.equal([409, "negotiation_listing_mismatch", "pricePolicy.payTo"]);
    const { rows } = await world.relayer.deps.db.query("SELECT charged_atomic, calls_charged FROM negotiated_session WHERE agent = $1", [Buffer.from(agent.address.slice(2), "hex")]);
    expect(rows).deep.equal([{ charged_atomic: 8_000n, calls_charged: 1n }]);
  });
});
