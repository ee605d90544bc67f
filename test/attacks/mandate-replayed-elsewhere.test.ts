// Attack: a mandate, a binding or a revocation that was signed for another chain, or for another registry, is shown here.
import { expect } from "chai";
import { BASE_SEPOLIA, LOCAL_MANDATE_REGISTRY } from "../../sdk/src/constants.ts";
import { mandateRegistryDomain } from "../../sdk/src/mandate.ts";
import { mandateRevocationTypes } from "../../sdk/src/mandate-messages.ts";
import { startTestWorld, type TestWorld } from "../support/relayer.ts";
import { asking, decided, granted, newKey, openChannels, overspent, paidCall, wireGrant } from "../support/mandated.ts";
import { idOfMandate, mandateOf, signBinding } from "../support/signed-mandates.ts";

const PRICE = 1_000n;
const ELSEWHERE = { "another chain": mandateRegistryDomain(8453, LOCAL_MANDATE_REGISTRY), "another registry": mandateRegistryDomain(BASE_SEPOLIA.chainId, "0x00000000000000000000000000000000000000e1") };

describe("attack: mandate of another chain or registry", function () {
  this.timeout(180_000);
  let world: TestWorld;
  before(async () => void (world = await startTestWorld()));
  after(() => world.stop());

  for (const [where, domain] of Object.entries(ELSEWHERE)) {
    it(`signed for ${where}: it registers nothing, binds nothing, revokes nothing, and no budget moves`, async () => {
      const principal = newKey();
      const ask = await asking(world.url, principal);
      const mandate = mandateOf(principal.address, newKey().address);
      const foreign = await ask("POST", "", { lineage: [await wireGrant(principal, mandate, domain)] });
      expect([foreign.status, foreign.body.code]).deep.equal([403, "mandate_signature_invalid"]);
      for (const id of [idOfMandate(mandate), idOfMandate(mandate, domain)]) expect((await ask("GET", `/${id}`)).status).equal(404);

      const under = await granted(world, { limit: PRICE });
      const thief = newKey();
      const bound = await under.ask("POST", `/${under.mandateId}/guards`, { authorizer: thief.address, signature: await signBinding(thief, under.mandateId, domain) });
      expect([bound.status, bound.body.code]).deep.equal([403, "guard_signature_invalid"]);
      const signature = await under.principal.signTypedData({ domain, types: mandateRevocationTypes, primaryType: "MandateRevocation", message: { mandateId: under.mandateId } });
      const revoked = await under.ask("POST", `/${under.mandateId}/revoke`, { by: under.principal.address, signature });
      expect([revoked.status, revoked.body.code]).deep.equal([403, "revocation_signature_invalid"]);

      const channels = await openChannels(world, under, 1, PRICE * 10n);
      const [first, second] = await Promise.all([PRICE, PRICE * 2n].map((ceiling) => paidCall(world.chain, channels[0]!, ceiling)));
      expect((await decided(() => first!(world.url))).status).equal(200);
      expect((await decided(() => second!(world.url))).body).include({ code: "mandate_exhausted", mandateId: under.mandateId });
      expect(await overspent(world, under.mandateId, channels)).deep.equal({ ledger: 0n, charged: 0n, chain: 0n });
    });
  }
});
