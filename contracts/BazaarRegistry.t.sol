// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "./interfaces/IBazaarRegistry.sol";
import {BazaarDigests} from "./test-support/BazaarDigests.sol";
import {BazaarApi, BazaarWorld} from "./test-support/BazaarWorld.sol";

/// @notice Services verb by verb: refusals first, with their arguments, then what is written and said.
contract BazaarRegistryTest is BazaarWorld {
    event ServiceListed(
        bytes32 indexed serviceId,
        address indexed owner,
        bytes32 indexed capability,
        IBazaarRegistry.ServiceKey key,
        IBazaarRegistry.Terms terms,
        IBazaarRegistry.Status status
    );
    event ServiceUpdated(
        bytes32 indexed serviceId,
        address indexed owner,
        bytes32 indexed capability,
        IBazaarRegistry.Terms terms,
        IBazaarRegistry.Status status,
        uint24 version,
        uint24 revision
    );
    event ServiceStatusChanged(
        bytes32 indexed serviceId,
        address indexed by,
        IBazaarRegistry.Status indexed status,
        uint24 version,
        uint24 revision,
        bytes32 reason
    );

    function setUp() public {
        buildBazaar();
    }

    function _refuse(bytes memory reason) private {
        vm.expectRevert(reason);
    }

    // ------------------------------------------------------------------ list

    function testFuzz_idIsTheTypedDataHash(IBazaarRegistry.ServiceKey memory key) public view {
        vm.assertEq(bazaar.getServiceId(key), idOf(key), "id");
    }

    function test_keysNameOneOwner() public {
        IBazaarRegistry.ServiceKey memory key = keyOf(0);
        key.agent = 1;
        _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidKey.selector, uint256(1), owner));
        vm.prank(owner);
        bazaar.list(key, terms(), true, bySender());
        (key.agent, key.owner) = (0, address(0));
        _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidKey.selector, uint256(0), address(0)));
        bazaar.list(key, terms(), true, bySender());
    }

    function test_listRefusesStrangers() public {
        _refuse(abi.encodeWithSelector(IBazaarRegistry.NotOwner.selector, thief, owner));
        vm.prank(thief);
        bazaar.list(keyOf(0), terms(), true, bySender());
        _refuse(abi.encodeWithSelector(IBazaarRegistry.NotOwner.selector, owner, agentOwner));
        vm.prank(owner);
        bazaar.list(agentKeyOf(0), terms(), true, bySender());
        IBazaarRegistry.ServiceKey memory key = agentKeyOf(0);
        key.agent = 8;
        _refuse(abi.encodeWithSelector(IBazaarRegistry.UnknownIdentity.selector, uint256(7)));
        vm.prank(owner);
        bazaar.list(key, terms(), true, bySender());
    }

    function test_listRefusesUselessTerms() public {
        for (uint256 i = 0; i < 9; i++) {
            IBazaarRegistry.Terms memory t = terms();
            IBazaarRegistry.Term wrong = IBazaarRegistry.Term.PayTo;
            if (i == 0) t.payTo = address(0);
            if (i == 1) t.payTo = address(bazaar);
            if (i == 2) t.payTo = address(channels);
            if (i == 3) (t.token, wrong) = (address(0), IBazaarRegistry.Term.Token);
            if (i == 4) (t.offer.capability, wrong) = (bytes32(0), IBazaarRegistry.Term.Capability);
            if (i == 5) (t.offer.schemes, wrong) = (0, IBazaarRegistry.Term.Schemes);
            if (i == 6) (t.offer.contentHash, wrong) = (bytes32(0), IBazaarRegistry.Term.ContentHash);
            if (i == 7) (t.offer.uri, wrong) = ("", IBazaarRegistry.Term.Uri);
            if (i == 8) (t.offer.uri, wrong) = (string(new bytes(513)), IBazaarRegistry.Term.Uri);
            _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidTerms.selector, wrong));
            vm.prank(owner);
            bazaar.list(keyOf(0), t, true, bySender());
        }
        IBazaarRegistry.Terms memory longest = terms();
        longest.offer.uri = string(new bytes(512));
        vm.prank(owner);
        bazaar.list(keyOf(0), longest, true, bySender());
    }

    function test_listWritesAndSays() public {
        IBazaarRegistry.ServiceKey memory key = keyOf(1);
        bytes32 id = idOf(key);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceListed(id, owner, "web.search", key, terms(), IBazaarRegistry.Status.Listed);
        vm.prank(owner);
        vm.assertEq(bazaar.list(key, terms(), true, bySender()), id, "id");

        IBazaarRegistry.ServiceState memory s = bazaar.services(id);
        vm.assertTrue(s.status == IBazaarRegistry.Status.Listed && !s.approved, "listed");
        vm.assertEq(uint256(s.version), 1, "version");
        vm.assertEq(uint256(s.revision), 1, "revision");
        vm.assertEq(bytes32(s.termsTag), bytes32(bytes25(BazaarDigests.termsHash(terms()))), "tag");
        vm.assertTrue(bazaar.isCurrent(id, terms()) && bazaar.isCurrentRef(id, refOf(terms())), "current");
        vm.assertTrue(!bazaar.isCurrent(id, termsAt(1)), "another price");
        vm.assertTrue(!bazaar.isCurrent(bytes32(0), terms()), "no service has no terms");

        _refuse(abi.encodeWithSelector(IBazaarRegistry.ServiceExists.selector, id));
        vm.prank(owner);
        bazaar.list(key, terms(), true, bySender());
    }

    /// @notice agentId 0 is an agent like any other.
    function test_listByAnIdentity() public {
        IBazaarRegistry.Terms memory t = terms();
        t.offer.visibility = IBazaarRegistry.Visibility.Unlisted;
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceListed(
            idOf(agentKeyOf(0)), agentOwner, "web.search", agentKeyOf(0), t, IBazaarRegistry.Status.Draft
        );
        vm.prank(agentOwner);
        bytes32 id = bazaar.list(agentKeyOf(0), t, false, bySender());
        IBazaarRegistry.ServiceState memory s = bazaar.services(id);
        vm.assertTrue(s.visibility == IBazaarRegistry.Visibility.Unlisted, "visibility");
        vm.assertEq(bazaar.serviceOwner(agentKeyOf(0)), agentOwner, "owner");
    }

    // ------------------------------------------------------------------ signatures

    function test_everythingBySignature() public {
        IBazaarRegistry.ServiceKey memory key = keyOf(2);
        bytes32 id = idOf(key);
        address here = address(bazaar);
        vm.startPrank(thief);
        bazaar.list(key, terms(), false, signed(OWNER_KEY, BazaarDigests.listing(here, id, terms(), false, FOREVER)));
        bytes32 digest = BazaarDigests.status(here, id, 1, IBazaarRegistry.Status.Listed, FOREVER);
        bazaar.setStatus(key, IBazaarRegistry.Status.Listed, signed(OWNER_KEY, digest));
        digest = BazaarDigests.updating(here, id, 2, termsAt(7), FOREVER);
        bazaar.update(key, refOf(terms()), termsAt(7), signed(OWNER_KEY, digest));
        bazaar.bondService(id, 50);
        digest = BazaarDigests.unbonding(here, id, 3, 20, FOREVER);
        bazaar.unbondService(key, 20, signed(OWNER_KEY, digest));
        vm.stopPrank();
        IBazaarRegistry.ServiceState memory s = bazaar.services(id);
        vm.assertTrue(s.status == IBazaarRegistry.Status.Listed, "listed");
        vm.assertEq(uint256(s.version), 2, "version");
        vm.assertEq(uint256(s.revision), 4, "revision");
    }

    function test_walletsSignByTheirCode() public {
        IBazaarRegistry.ServiceKey memory key = IBazaarRegistry.ServiceKey(0, address(ownerWallet), 0);
        bytes32 digest = BazaarDigests.listing(address(bazaar), idOf(key), terms(), true, FOREVER);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidSignature.selector, address(ownerWallet)));
        bazaar.list(key, terms(), true, signed(OWNER_KEY, digest));
        bazaar.list(key, terms(), true, signed(WALLET_KEY, digest));
    }

    function test_signaturesWorkOnceAndInTime() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = listed(3);
        bytes32 pause = BazaarDigests.status(address(bazaar), id, 1, IBazaarRegistry.Status.Suspended, FOREVER);
        bazaar.setStatus(key, IBazaarRegistry.Status.Suspended, signed(OWNER_KEY, pause));
        vm.prank(owner);
        bazaar.setStatus(key, IBazaarRegistry.Status.Listed, bySender());
        _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidSignature.selector, owner));
        bazaar.setStatus(key, IBazaarRegistry.Status.Suspended, signed(OWNER_KEY, pause));

        bytes32 late = BazaarDigests.status(address(bazaar), id, 3, IBazaarRegistry.Status.Delisted, START);
        IBazaarRegistry.Consent memory consent = IBazaarRegistry.Consent(START, signature(OWNER_KEY, late));
        vm.warp(START + 1);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.SignatureExpired.selector, uint256(START), uint256(START + 1)));
        bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, consent);
        vm.warp(START);
        bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, consent);
        // A delisted service exists: its first signature does not list it again.
        bytes32 first = BazaarDigests.listing(address(bazaar), id, terms(), true, FOREVER);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.ServiceExists.selector, id));
        bazaar.list(key, terms(), true, signed(OWNER_KEY, first));
    }

    /// @notice A signature names all of the terms, the service and the registry.
    function test_signaturesBindTerms() public {
        IBazaarRegistry.ServiceKey memory key = keyOf(4);
        bytes32 digest = BazaarDigests.listing(address(bazaar), idOf(key), terms(), true, FOREVER);
        IBazaarRegistry.Terms memory swapped = terms();
        swapped.payTo = thief;
        bytes memory refusal = abi.encodeWithSelector(IBazaarRegistry.InvalidSignature.selector, owner);
        _refuse(refusal);
        bazaar.list(key, swapped, true, signed(OWNER_KEY, digest));
        _refuse(refusal);
        bazaar.list(key, terms(), false, signed(OWNER_KEY, digest));
        _refuse(refusal);
        bazaar.list(keyOf(5), terms(), true, signed(OWNER_KEY, digest));
        _refuse(refusal);
        curated.list(key, terms(), true, signed(OWNER_KEY, digest));
        _refuse(refusal);
        bazaar.list(key, terms(), true, signed(THIEF_KEY, digest));
    }

    // ------------------------------------------------------------------ update

    function test_updateRefuses() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = listed(6);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.UnknownService.selector, idOf(keyOf(7))));
        vm.prank(owner);
        bazaar.update(keyOf(7), refOf(terms()), termsAt(1), bySender());
        _refuse(abi.encodeWithSelector(IBazaarRegistry.StaleTerms.selector, id));
        vm.prank(owner);
        bazaar.update(key, refOf(termsAt(1)), termsAt(2), bySender());
        _refuse(abi.encodeWithSelector(IBazaarRegistry.NotOwner.selector, thief, owner));
        vm.prank(thief);
        bazaar.update(key, refOf(terms()), termsAt(1), bySender());
        IBazaarRegistry.Terms memory empty = terms();
        empty.payTo = address(0);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidTerms.selector, IBazaarRegistry.Term.PayTo));
        vm.prank(owner);
        bazaar.update(key, refOf(terms()), empty, bySender());
    }

    function test_updateWritesAndSays() public {
        (IBazaarRegistry.ServiceKey memory key, bytes32 id) = listed(8);
        IBazaarRegistry.Terms memory t = termsAt(2);
        (t.offer.capability, t.offer.visibility) = ("web.crawl", IBazaarRegistry.Visibility.Unlisted);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceUpdated(id, owner, "web.crawl", t, IBazaarRegistry.Status.Listed, 2, 2);
        vm.prank(owner);
        bazaar.update(key, refOf(terms()), t, bySender());
        vm.assertTrue(bazaar.isCurrent(id, t) && !bazaar.isCurrent(id, terms()), "current");
        vm.assertTrue(bazaar.services(id).visibility == IBazaarRegistry.Visibility.Unlisted, "visibility");
        vm.assertTrue(!bazaar.wasPaidAt(id, payTo, address(token)), "paid where it was");
        IBazaarRegistry.Terms memory moved = t;
        moved.payTo = address(0xFA8);
        IBazaarRegistry.TermsRef memory before =
            IBazaarRegistry.TermsRef(payTo, address(token), BazaarDigests.offerHash(t.offer));
        vm.prank(owner);
        bazaar.update(key, before, moved, bySender());
        vm.assertTrue(bazaar.wasPaidAt(id, payTo, address(token)), "moved");
    }

    // ------------------------------------------------------------------ status

    /// @notice Every pair of statuses, in the open bazaar and in the curated one.
    function test_everyTransition() public {
        for (uint256 from = 1; from < 6; from++) {
            for (uint256 to = 0; to < 6; to++) {
                _try(bazaar, from, to);
                _try(curated, from, to);
            }
        }
    }

    /// @dev In the curated bazaar services come here with terms that were never approved, except those listed or paused.
    function _try(BazaarApi api, uint256 from, uint256 to) private {
        IBazaarRegistry.ServiceKey memory key = keyOf(100 + from * 10 + to);
        bytes32 id = _bring(api, key, from);
        if (id == 0) return;
        _expect(api, id, from, to);
        vm.prank(owner);
        api.setStatus(key, IBazaarRegistry.Status(to), bySender());
    }

    function _expect(BazaarApi api, bytes32 id, uint256 from, uint256 to) private {
        IBazaarRegistry.Status wanted = IBazaarRegistry.Status(to);
        if (!_mayMove(from, to, address(api) == address(curated))) {
            bytes4 refusal = IBazaarRegistry.InvalidTransition.selector;
            _refuse(abi.encodeWithSelector(refusal, id, IBazaarRegistry.Status(from), wanted));
        } else if (to == 3 && address(api) == address(curated) && from != 4) {
            _refuse(abi.encodeWithSelector(IBazaarRegistry.ReviewRequired.selector, id));
        } else {
            uint24 revision = api.services(id).revision + 1;
            vm.expectEmit(true, true, true, true, address(api));
            emit ServiceStatusChanged(id, owner, wanted, 1, revision, 0);
        }
    }

    function _mayMove(uint256 from, uint256 to, bool isCurated) private pure returns (bool) {
        bool idle = from == 1 || from == 4 || from == 5;
        if (to == 5) return from != 5;
        if (to == 4) return from == 3;
        if (to == 3) return idle;
        return to == 2 && idle && isCurated;
    }

    function _bring(BazaarApi api, IBazaarRegistry.ServiceKey memory key, uint256 to) private returns (bytes32 id) {
        bool isCurated = address(api) == address(curated);
        if (to == 2 && !isCurated) return 0;
        vm.prank(owner);
        id = api.list(key, terms(), to == 2 || to == 3 || to == 4, bySender());
        if (isCurated && (to == 3 || to == 4)) {
            vm.prank(curator);
            api.review(id, 1, true, 0);
        }
        if (to < 4) return id;
        vm.prank(owner);
        api.setStatus(key, IBazaarRegistry.Status(to), bySender());
    }

    function test_statusNeedsTheOwner() public {
        (IBazaarRegistry.ServiceKey memory key,) = listed(9);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.NotOwner.selector, thief, owner));
        vm.prank(thief);
        bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, bySender());
        _refuse(abi.encodeWithSelector(IBazaarRegistry.UnknownService.selector, idOf(keyOf(10))));
        vm.prank(owner);
        bazaar.setStatus(keyOf(10), IBazaarRegistry.Status.Listed, bySender());
    }

    // ------------------------------------------------------------------ the curator

    function test_reviewIsTheCuratorsAlone() public {
        vm.prank(owner);
        bytes32 id = curated.list(keyOf(11), terms(), true, bySender());
        vm.assertTrue(curated.services(id).status == IBazaarRegistry.Status.PendingReview, "pending");
        _refuse(abi.encodeWithSelector(IBazaarRegistry.NotCurator.selector, owner));
        vm.prank(owner);
        curated.review(id, 1, true, 0);
        // Where there is no curator, nobody is: not even the zero address's callers.
        (, bytes32 open) = listed(12);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.NotCurator.selector, curator));
        vm.prank(curator);
        bazaar.suspend(open, 0);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.UnknownService.selector, bytes32("none")));
        vm.prank(curator);
        curated.review("none", 1, true, 0);
    }

    /// @notice What the curator read is what it approves: terms changed meanwhile are not.
    function test_reviewNamesTheVersion() public {
        IBazaarRegistry.ServiceKey memory key = keyOf(13);
        vm.startPrank(owner);
        bytes32 id = curated.list(key, terms(), true, bySender());
        curated.update(key, refOf(terms()), termsAt(9), bySender());
        vm.stopPrank();
        _refuse(abi.encodeWithSelector(IBazaarRegistry.WrongVersion.selector, id, uint24(1), uint24(2)));
        vm.prank(curator);
        curated.review(id, 1, true, 0);
        vm.expectEmit(true, true, true, true, address(curated));
        emit ServiceStatusChanged(id, curator, IBazaarRegistry.Status.Listed, 2, 2, "good");
        vm.prank(curator);
        curated.review(id, 2, true, "good");
        vm.assertTrue(curated.services(id).approved, "approved");

        // Every change of terms goes back to review, a pause does not.
        vm.startPrank(owner);
        curated.setStatus(key, IBazaarRegistry.Status.Suspended, bySender());
        curated.setStatus(key, IBazaarRegistry.Status.Listed, bySender());
        curated.update(key, refOf(termsAt(9)), terms(), bySender());
        vm.stopPrank();
        IBazaarRegistry.ServiceState memory s = curated.services(id);
        vm.assertTrue(s.status == IBazaarRegistry.Status.PendingReview && !s.approved, "back to review");
        vm.prank(curator);
        curated.review(id, 3, false, "worse");
        vm.assertTrue(curated.services(id).status == IBazaarRegistry.Status.Draft, "rejected");
    }

    /// @notice Suspended by the curator: the owner's own publishing does not bring it back, by no way around.
    function test_suspensionHolds() public {
        IBazaarRegistry.ServiceKey memory key = keyOf(14);
        vm.prank(owner);
        bytes32 id = curated.list(key, terms(), true, bySender());
        _refuse(
            abi.encodeWithSelector(
                IBazaarRegistry.InvalidTransition.selector,
                id,
                IBazaarRegistry.Status.PendingReview,
                IBazaarRegistry.Status.Suspended
            )
        );
        vm.prank(curator);
        curated.suspend(id, 0);
        vm.startPrank(curator);
        curated.review(id, 1, true, 0);
        vm.expectEmit(true, true, true, true, address(curated));
        emit ServiceStatusChanged(id, curator, IBazaarRegistry.Status.Suspended, 1, 1, "fraud");
        curated.suspend(id, "fraud");
        vm.stopPrank();
        bytes memory refusal = abi.encodeWithSelector(IBazaarRegistry.ReviewRequired.selector, id);
        vm.startPrank(owner);
        vm.expectRevert(refusal);
        curated.setStatus(key, IBazaarRegistry.Status.Listed, bySender());
        curated.setStatus(key, IBazaarRegistry.Status.Delisted, bySender());
        vm.expectRevert(refusal);
        curated.setStatus(key, IBazaarRegistry.Status.Listed, bySender());
        curated.setStatus(key, IBazaarRegistry.Status.PendingReview, bySender());
        vm.stopPrank();
        vm.prank(curator);
        curated.review(id, 1, true, 0);
        vm.assertTrue(curated.services(id).status == IBazaarRegistry.Status.Listed, "listed again");
    }

    function test_setupNeedsChannelsAndABondToken() public {
        bytes memory code = vm.getCode("BazaarRegistry.sol:BazaarRegistry");
        for (uint256 i = 0; i < 3; i++) {
            address[3] memory needed = [address(channels), address(channels), address(bondToken)];
            needed[i] = address(0);
            bytes memory init = bytes.concat(
                code, abi.encode(0, 0, needed[0], needed[1]), abi.encode(0, 0, needed[2], 0)
            );
            address made;
            assembly {
                made := create(0, add(init, 32), mload(init))
            }
            vm.assertEq(made, address(0), "deployed");
        }
    }
}
