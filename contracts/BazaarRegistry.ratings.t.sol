// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "./interfaces/IBazaarRegistry.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {BazaarDigests} from "./test-support/BazaarDigests.sol";
import {LyingChannels, ScriptedJobs, ScriptedReputation} from "./test-support/BazaarActors.sol";
import {BazaarWorld} from "./test-support/BazaarWorld.sol";

/// @notice Ratings: only who paid, once for each payment, never oneself; sums, forwarding, jobs and receipts.
contract BazaarRegistryRatingsTest is BazaarWorld {
    event ServiceRated(
        bytes32 indexed serviceId,
        address indexed rater,
        bytes32 indexed source,
        address payTo,
        address token,
        uint128 amount,
        uint8 score,
        bytes32 details
    );
    event RatingForwarded(bytes32 indexed serviceId, uint256 indexed agentId, bytes32 indexed source, bool accepted);

    IBazaarRegistry.ServiceKey private key;
    IBazaarRegistry.ServiceKey private agentKey;
    bytes32 private id;
    bytes32 private agentService;

    function setUp() public {
        buildBazaar();
        (key, id) = listed(1);
        (agentKey, agentService) = agentListed(1);
    }

    function _rate(IBazaarRegistry.ChannelPayment memory payment, uint8 score) private {
        vm.prank(payment.config.payer);
        bazaar.rateChannel(key, offerHash(), payment, opinion(score));
    }

    function _refuse(bytes memory reason, IBazaarRegistry.ChannelPayment memory payment) private {
        IBazaarRegistry.Opinion memory o = opinion(50);
        vm.prank(payment.config.payer);
        vm.expectRevert(reason);
        bazaar.rateChannel(key, offerHash(), payment, o);
    }

    // ------------------------------------------------------------------ proof of payment

    function test_notWithoutClaims() public {
        ISessionChannels.ChannelConfig memory c = channelOf(PAYER_KEY, payTo, 0);
        // A deposit is no payment yet.
        channels.deposit(c, 500, address(collector), "");
        IBazaarRegistry.ChannelPayment memory payment =
            IBazaarRegistry.ChannelPayment(address(channels), c, 500);
        _refuse(
            abi.encodeWithSelector(IBazaarRegistry.NotClaimed.selector, sourceOf(payment), uint128(500), uint128(0)),
            payment
        );
        payment.claimed = 0;
        _refuse(abi.encodeWithSelector(IBazaarRegistry.AlreadyRated.selector, sourceOf(payment), 0, 0), payment);
    }

    function test_aFakeChannelContractIsNone() public {
        address liar = address(new LyingChannels());
        IBazaarRegistry.ChannelPayment memory payment =
            IBazaarRegistry.ChannelPayment(liar, channelOf(PAYER_KEY, payTo, 0), 500);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.InvalidChannelContract.selector, liar), payment);
    }

    function test_eachAmountOnce() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 700);
        bytes32 source = sourceOf(payment);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceRated(id, payer, source, payTo, address(token), 700, 90, keccak256("why"));
        _rate(payment, 90);
        vm.assertEq(bazaar.ratedUpTo(source), 700, "rated");
        _refuse(abi.encodeWithSelector(IBazaarRegistry.AlreadyRated.selector, source, 700, 700), payment);
        payment.claimed = 699;
        _refuse(abi.encodeWithSelector(IBazaarRegistry.AlreadyRated.selector, source, 699, 700), payment);

        // More claims of the channel can be rated, as to what is new of them.
        payment = paid(PAYER_KEY, 0, 1_000);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceRated(id, payer, source, payTo, address(token), 300, 10, keccak256("why"));
        _rate(payment, 10);
        IBazaarRegistry.RatingTotals memory t = bazaar.ratings(id, address(token));
        vm.assertEq(t.count, 2, "count");
        vm.assertEq(t.sum, 100, "sum");
        vm.assertEq(t.weight, 1_000, "weight");
        vm.assertEq(t.weightedSum, 90 * 700 + 10 * 300, "weighted sum");
        vm.assertEq(uint256(t.buckets[4]), 1, "high");
        vm.assertEq(uint256(t.buckets[0]), 1, "low");
        vm.assertEq(uint256(t.lastRatedAt), START, "time");
    }

    /// @notice One payment speaks of one service, even where two are paid at the same address.
    function test_onePaymentOneService() public {
        listed(2);
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 700);
        _rate(payment, 90);
        vm.expectRevert(
            abi.encodeWithSelector(IBazaarRegistry.AlreadyRated.selector, sourceOf(payment), 700, 700)
        );
        vm.prank(payer);
        bazaar.rateChannel(keyOf(2), offerHash(), payment, opinion(1));
    }

    function test_onlyWhatThatServiceWasPaid() public {
        ISessionChannels.ChannelConfig memory c = channelOf(PAYER_KEY, address(0xFA8), 0);
        pay(c, PAYER_KEY, 100);
        IBazaarRegistry.ChannelPayment memory payment =
            IBazaarRegistry.ChannelPayment(address(channels), c, 100);
        _refuse(
            abi.encodeWithSelector(IBazaarRegistry.NotPaidTo.selector, id, address(0xFA8), address(token)), payment
        );
        payment = paid(PAYER_KEY, 0, 100);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotPaidTo.selector, id, payTo, address(token)));
        vm.prank(payer);
        bazaar.rateChannel(key, "another offer", payment, opinion(1));
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.UnknownService.selector, idOf(keyOf(9))));
        vm.prank(payer);
        bazaar.rateChannel(keyOf(9), offerHash(), payment, opinion(1));
    }

    /// @notice A provider that moves its payTo, delists or raises its price does not get rid of who paid before.
    function test_aProviderCannotDodgeItsPayers() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 100);
        IBazaarRegistry.Terms memory moved = termsAt(2);
        moved.payTo = address(0xFA8);
        vm.startPrank(owner);
        bazaar.update(key, refOf(terms()), moved, bySender());
        bazaar.setStatus(key, IBazaarRegistry.Status.Delisted, bySender());
        vm.stopPrank();
        vm.prank(payer);
        bazaar.rateChannel(key, 0, payment, opinion(3));
        vm.assertEq(bazaar.ratings(id, address(token)).sum, 3, "rated");
    }

    // ------------------------------------------------------------------ who rates

    function test_onlyThePayer() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 700);
        IBazaarRegistry.Opinion memory o = opinion(50);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotRater.selector, thief, payer));
        vm.prank(thief);
        bazaar.rateChannel(key, offerHash(), payment, o);
        o.score = 101;
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.InvalidScore.selector, uint8(101)));
        vm.prank(payer);
        bazaar.rateChannel(key, offerHash(), payment, o);
    }

    function test_bySignature() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 700);
        IBazaarRegistry.Opinion memory o = opinion(50);
        o.deadline = START;
        bytes32 digest = BazaarDigests.rating(address(bazaar), id, sourceOf(payment), 700, o);
        o.signature = signature(THIEF_KEY, digest);
        bytes memory refusal = abi.encodeWithSelector(IBazaarRegistry.InvalidSignature.selector, payer);
        vm.expectRevert(refusal);
        bazaar.rateChannel(key, offerHash(), payment, o);
        o.signature = signature(PAYER_KEY, digest);
        // The relayer changes nothing of it.
        o.score = 51;
        vm.expectRevert(refusal);
        bazaar.rateChannel(key, offerHash(), payment, o);
        (o.score, o.forward) = (50, true);
        vm.expectRevert(refusal);
        bazaar.rateChannel(key, offerHash(), payment, o);
        (o.forward, payment.claimed) = (false, 600);
        vm.expectRevert(refusal);
        bazaar.rateChannel(key, offerHash(), payment, o);
        payment.claimed = 700;
        vm.warp(START + 1);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.SignatureExpired.selector, START, START + 1));
        bazaar.rateChannel(key, offerHash(), payment, o);
        vm.warp(START);
        bazaar.rateChannel(key, offerHash(), payment, o);
        vm.assertEq(bazaar.ratings(id, address(token)).sum, 50, "rated");
    }

    function test_neverOneself() public {
        // The owner, by its own key and as the key behind a payer.
        IBazaarRegistry.ChannelPayment memory payment = paid(OWNER_KEY, 0, 10);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.SelfRating.selector, id, owner), payment);
        ISessionChannels.ChannelConfig memory c = channelOf(PAYER_KEY, payTo, 1);
        c.payerAuthorizer = owner;
        pay(c, OWNER_KEY, 10);
        payment = IBazaarRegistry.ChannelPayment(address(channels), c, 10);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.SelfRating.selector, id, owner), payment);
        // The agent's wallet and its owner.
        identities.setWallet(AGENT_ID, otherPayer);
        payment = paid(OTHER_PAYER_KEY, 0, 10);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.SelfRating.selector, agentService, otherPayer));
        vm.prank(otherPayer);
        bazaar.rateChannel(agentKey, offerHash(), payment, opinion(100));
        payment = paid(AGENT_OWNER_KEY, 0, 10);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.SelfRating.selector, agentService, agentOwner));
        vm.prank(agentOwner);
        bazaar.rateChannel(agentKey, offerHash(), payment, opinion(100));
    }

    function test_payToIsOneself() public {
        IBazaarRegistry.Terms memory t = terms();
        t.payTo = payer;
        vm.prank(owner);
        bytes32 service = bazaar.list(keyOf(3), t, true, bySender());
        ISessionChannels.ChannelConfig memory c = channelOf(PAYER_KEY, payer, 0);
        pay(c, PAYER_KEY, 10);
        IBazaarRegistry.ChannelPayment memory payment = IBazaarRegistry.ChannelPayment(address(channels), c, 10);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.SelfRating.selector, service, payer));
        vm.prank(payer);
        bazaar.rateChannel(keyOf(3), offerHash(), payment, opinion(100));
    }

    /// @notice A second address of the provider is a payer like any: the chain cannot tell. It costs what it claims, and its
    /// channels count by themselves.
    function test_aSecondAddressCountsForItself() public {
        _rate(paid(OTHER_PAYER_KEY, 0, 5), 100);
        _rate(paid(PAYER_KEY, 0, 995), 20);
        IBazaarRegistry.RatingTotals memory t = bazaar.ratings(id, address(token));
        vm.assertEq(t.sum / t.count, 60, "plain average");
        vm.assertEq(t.weightedSum / t.weight, 20, "weighted average");
    }

    // ------------------------------------------------------------------ sums

    function testFuzz_sums(uint8[6] memory scores, uint64[6] memory amounts) public {
        uint128 total;
        uint256[3] memory sums;
        uint256[5] memory buckets;
        for (uint256 i = 0; i < 6; i++) {
            uint8 score = uint8(bound(scores[i], 0, 100));
            uint128 amount = uint128(bound(amounts[i], 1, type(uint64).max));
            total += amount;
            _rate(paid(PAYER_KEY, 0, total), score);
            sums[0] += score;
            sums[1] += amount;
            sums[2] += uint256(score) * amount;
            buckets[score >= 80 ? 4 : score >= 60 ? 3 : score >= 40 ? 2 : score >= 20 ? 1 : 0]++;
        }
        IBazaarRegistry.RatingTotals memory t = bazaar.ratings(id, address(token));
        vm.assertEq(t.count, 6, "count");
        vm.assertEq(t.sum, sums[0], "sum");
        vm.assertEq(t.weight, sums[1], "weight");
        vm.assertEq(t.weightedSum, sums[2], "weighted sum");
        for (uint256 i = 0; i < 5; i++) {
            vm.assertEq(uint256(t.buckets[i]), buckets[i], "bucket");
        }
    }

    /// @notice A token of unlimited supply cannot make the sums wrap.
    function test_overflowIsRefused() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, type(uint128).max - 1);
        _refuse(abi.encodeWithSelector(IBazaarRegistry.RatingOverflow.selector, id, address(token)), payment);
        payment.claimed = type(uint120).max;
        _rate(payment, 100);
        payment.claimed += 1;
        _refuse(abi.encodeWithSelector(IBazaarRegistry.RatingOverflow.selector, id, address(token)), payment);
        IBazaarRegistry.RatingTotals memory t = bazaar.ratings(id, address(token));
        vm.assertEq(t.weight, type(uint120).max, "weight");
        vm.assertEq(t.weightedSum, uint256(type(uint120).max) * 100, "weighted sum");
    }

    // ------------------------------------------------------------------ jobs

    function test_jobs() public {
        IBazaarRegistry.Opinion memory o = opinion(80);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.JobNotPaid.selector, uint256(5)));
        bazaar.rateJob(key, offerHash(), 5, o);
        jobs.set(5, ScriptedJobs.Job(payer, payTo, address(token), 400, false));
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.JobNotPaid.selector, uint256(5)));
        bazaar.rateJob(key, offerHash(), 5, o);
        // Ended without a payment: nothing was paid that could speak.
        jobs.set(5, ScriptedJobs.Job(payer, payTo, address(token), 0, true));
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.JobNotPaid.selector, uint256(5)));
        vm.prank(payer);
        bazaar.rateJob(key, offerHash(), 5, o);
        jobs.set(5, ScriptedJobs.Job(payer, payTo, address(token), 400, true));
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.NotRater.selector, thief, payer));
        vm.prank(thief);
        bazaar.rateJob(key, offerHash(), 5, o);

        bytes32 source = keccak256(abi.encode(block.chainid, address(jobs), uint256(5)));
        vm.assertEq(bazaar.jobSource(5), source, "source");
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceRated(id, payer, source, payTo, address(token), 400, 80, keccak256("why"));
        vm.prank(payer);
        bazaar.rateJob(key, offerHash(), 5, o);
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.AlreadyRated.selector, source, 400, 400));
        vm.prank(payer);
        bazaar.rateJob(key, offerHash(), 5, o);
        jobs.set(6, ScriptedJobs.Job(owner, payTo, address(token), 400, true));
        vm.expectRevert(abi.encodeWithSelector(IBazaarRegistry.SelfRating.selector, id, owner));
        vm.prank(owner);
        bazaar.rateJob(key, offerHash(), 6, o);
    }

    /// @notice The escrow itself instead of a script: only what it paid out counts, less its fee, and once.
    function test_jobsOfTheEscrow() public {
        jobs = ScriptedJobs(deploy("JobEscrow.sol:JobEscrow", abi.encode(token, address(0), uint16(100), address(0xFEE))));
        IJobEscrow escrow = IJobEscrow(address(jobs));
        bazaar = deployBazaar(address(0));
        (key, id) = listed(1);
        vm.startPrank(payer);
        token.approve(address(escrow), 20_000);
        uint256 split = escrow.hire(IJobEscrow.HireTerms(payTo, curator, address(0), START + 1 days, 10_000, "split", ""));
        uint256 refused = escrow.hire(IJobEscrow.HireTerms(payTo, curator, address(0), START + 1 days, 10_000, "refused", ""));
        vm.stopPrank();
        vm.prank(payTo);
        escrow.submit(split, "work", "");
        _refuseJob(split, abi.encodeWithSelector(IBazaarRegistry.JobNotPaid.selector, split));
        vm.startPrank(curator);
        escrow.completeSplit(split, 3_000, "", "");
        escrow.reject(refused, "", "");
        vm.stopPrank();

        _refuseJob(refused, abi.encodeWithSelector(IBazaarRegistry.JobNotPaid.selector, refused));
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit ServiceRated(id, payer, bazaar.jobSource(split), payTo, address(token), 2_970, 50, keccak256("why"));
        vm.prank(payer);
        bazaar.rateJob(key, offerHash(), split, opinion(50));
        _refuseJob(split, abi.encodeWithSelector(IBazaarRegistry.AlreadyRated.selector, bazaar.jobSource(split), 2_970, 2_970));
    }

    function _refuseJob(uint256 jobId, bytes memory reason) private {
        IBazaarRegistry.Opinion memory o = opinion(50);
        vm.prank(payer);
        vm.expectRevert(reason);
        bazaar.rateJob(key, offerHash(), jobId, o);
    }

    // ------------------------------------------------------------------ forwarding

    function _forwarded(uint128 total) private returns (bytes memory call_, bytes32 source) {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, total);
        IBazaarRegistry.Opinion memory o = opinion(87);
        o.forward = true;
        source = sourceOf(payment);
        call_ = abi.encodeCall(bazaar.rateChannel, (agentKey, offerHash(), payment, o));
    }

    function test_forwardsToTheReputationRegistry() public {
        (bytes memory call_, bytes32 source) = _forwarded(10);
        vm.expectEmit(true, true, true, true, address(bazaar));
        emit RatingForwarded(agentService, AGENT_ID, source, true);
        vm.prank(payer);
        (bool ok,) = address(bazaar).call(call_);
        vm.assertTrue(ok, "rated");
        vm.assertEq(uint256(uint128(reputation.lastValue())), 87, "value");
        vm.assertEq(bytes(reputation.lastTag()), bytes("starred"), "tag");
        vm.assertEq(reputation.lastHash(), keccak256("why"), "hash");
    }

    /// @notice A service without identity has no entry there; the rating stands.
    function test_withoutIdentityNothingIsForwarded() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 10);
        IBazaarRegistry.Opinion memory o = opinion(87);
        o.forward = true;
        vm.prank(payer);
        bazaar.rateChannel(key, offerHash(), payment, o);
        vm.assertEq(reputation.count(), 0, "forwarded");
    }

    function test_aHostileReputationRegistryBreaksNothing() public {
        for (uint256 i = 1; i < 4; i++) {
            reputation.setMode(ScriptedReputation.Mode(i));
            (bytes memory call_, bytes32 source) = _forwarded(uint128(10 * i));
            vm.expectEmit(true, true, true, true, address(bazaar));
            emit RatingForwarded(agentService, AGENT_ID, source, false);
            vm.prank(payer);
            (bool ok,) = address(bazaar).call{gas: 1_000_000}(call_);
            vm.assertTrue(ok, "rated");
        }
        vm.assertEq(bazaar.ratings(agentService, address(token)).count, 3, "ratings");
    }

    /// @notice Called back, it finds the payment used.
    function test_aReentrantReputationRegistryRatesNothingTwice() public {
        IBazaarRegistry.ChannelPayment memory payment = paid(PAYER_KEY, 0, 10);
        IBazaarRegistry.Opinion memory o = opinion(87);
        (o.forward, o.deadline) = (true, FOREVER);
        o.signature =
            signature(PAYER_KEY, BazaarDigests.rating(address(bazaar), agentService, sourceOf(payment), 10, o));
        bytes memory call_ = abi.encodeCall(bazaar.rateChannel, (agentKey, offerHash(), payment, o));
        reputation.setHook(address(bazaar), call_);
        (bool ok,) = address(bazaar).call(call_);
        vm.assertTrue(ok && !reputation.hookOk(), "rated once");
        vm.assertEq(bazaar.ratings(agentService, address(token)).count, 1, "count");
    }

    /// @notice With too little gas everything reverts; no relayer decides by its gas whether a rating is forwarded.
    function testFuzz_gasNeverDecides(uint256 gas_) public {
        (bytes memory call_,) = _forwarded(10);
        gas_ = bound(gas_, 30_000, 900_000);
        vm.prank(payer);
        (bool ok,) = address(bazaar).call{gas: gas_}(call_);
        vm.assertEq(reputation.count(), ok ? 1 : 0, "forwarded");
    }

    // ------------------------------------------------------------------ receipts

    function test_receiptsAreProven() public view {
        (bytes32 a, bytes32 b) = (keccak256("receipt a"), keccak256("receipt b"));
        bytes32 leafA = keccak256(bytes.concat(keccak256(abi.encode(a))));
        bytes32 leafB = keccak256(bytes.concat(keccak256(abi.encode(b))));
        bytes32 root =
            leafA < leafB ? keccak256(abi.encodePacked(leafA, leafB)) : keccak256(abi.encodePacked(leafB, leafA));
        bytes32[] memory proof = new bytes32[](1);
        proof[0] = leafB;
        vm.assertTrue(bazaar.isReceiptProven(a, root, proof), "a");
        vm.assertTrue(!bazaar.isReceiptProven(b, root, proof), "b by a's proof");
        vm.assertTrue(bazaar.isReceiptProven(a, leafA, new bytes32[](0)), "alone");
        vm.assertTrue(!bazaar.isReceiptProven(root, root, new bytes32[](0)), "a node is no receipt");
    }
}
