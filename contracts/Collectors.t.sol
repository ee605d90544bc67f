// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {AllowanceDepositCollector} from "./collectors/AllowanceDepositCollector.sol";
import {DepositCollector} from "./collectors/DepositCollector.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelsApi} from "./test-support/ChannelsApi.sol";
import {Digests} from "./test-support/Digests.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {World} from "./test-support/World.sol";

/// @notice The deposit collectors: a payer's tokens move only into the channel, in the amount and in the time it signed.
contract CollectorsTest is World {
    uint256 private constant CHANNEL = 0;
    uint256 private constant FOREVER = type(uint256).max;

    ChannelsApi private channels;
    ChannelsApi private twin;
    DepositCollector private byAuthorization;
    AllowanceDepositCollector private byAllowance;
    address private payer;

    event NonceCancelled(address indexed payer, uint256 indexed nonce);

    function setUp() public {
        buildWorld();
        channels = deployChannels();
        twin = deployChannels();
        byAuthorization = DepositCollector(
            deploy("ERC3009DepositCollector.sol:ERC3009DepositCollector", abi.encode(address(channels)))
        );
        byAllowance = AllowanceDepositCollector(
            deploy("AllowanceDepositCollector.sol:AllowanceDepositCollector", abi.encode(address(channels)))
        );
        payer = vm.addr(PAYER_KEY);
        vm.prank(payer);
        honest.approve(address(byAllowance), FOREVER);
    }


    function _expectBalance(uint128 balance) private view {
        (uint128 actual,) = channels.channels(idOf(channels, CHANNEL));
        vm.assertEq(actual, balance, "balance");
        vm.assertEq(honest.balanceOf(address(channels)), balance, "held");
        vm.assertEq(honest.balanceOf(address(byAuthorization)), 0, "stuck in the ERC-3009 collector");
        vm.assertEq(honest.balanceOf(address(byAllowance)), 0, "stuck in the allowance collector");
    }

    /// @notice A channel that differs from the signed one in one of its terms, and so in its id.
    function _otherTerms(uint256 seed) private view returns (ISessionChannels.ChannelConfig memory config) {
        config = configOf(CHANNEL);
        if (seed % 5 == 0) config.receiver = thief;
        if (seed % 5 == 1) config.payerAuthorizer = thief;
        if (seed % 5 == 2) config.receiverAuthorizer = thief;
        if (seed % 5 == 3) config.withdrawDelay++;
        if (seed % 5 == 4) config.salt = bytes32(uint256(1));
    }

    // ------------------------------------------------------------------ both

    function testFuzz_onlyTheChannelContractMayCollect(address caller) public {
        vm.assume(caller != address(channels));
        bytes32 id = idOf(channels, CHANNEL);
        bytes memory authorization = _authorization(idOf(channels, CHANNEL), 5, 0, FOREVER, 1);
        bytes memory permission = _permission(PAYER_KEY, id, address(honest), 5, 1, FOREVER);
        vm.prank(caller);
        vm.expectRevert(DepositCollector.OnlyX402BatchSettlement.selector);
        byAuthorization.collect(payer, address(honest), 5, id, authorization);
        vm.prank(caller);
        vm.expectRevert(DepositCollector.OnlyX402BatchSettlement.selector);
        byAllowance.collect(payer, address(honest), 5, id, permission);
    }

    /// @notice Also not another channel contract, whose deposit would go elsewhere.
    function test_anotherChannelContractMayNotCollect() public {
        bytes memory permission = _permission(PAYER_KEY, idOf(twin, CHANNEL), address(honest), 5, 1, FOREVER);
        vm.expectRevert(DepositCollector.OnlyX402BatchSettlement.selector);
        twin.deposit(configOf(CHANNEL), 5, address(byAllowance), permission);
    }

    function test_collectorsNameTheirChannelContract() public {
        vm.assertEq(byAuthorization.x402BatchSettlement(), address(channels), "ERC-3009");
        vm.assertEq(byAllowance.x402BatchSettlement(), address(channels), "allowance");
        bytes memory code =
            bytes.concat(vm.getCode("ERC3009DepositCollector.sol:ERC3009DepositCollector"), abi.encode(address(0)));
        address made;
        assembly {
            made := create(0, add(code, 32), mload(code))
        }
        vm.assertEq(made, address(0), "made for nobody");
    }

    // ------------------------------------------------------------------ ERC-3009

    function _authorization(bytes32 id, uint128 amount, uint256 from, uint256 until, uint256 salt)
        private
        view
        returns (bytes memory)
    {
        return authorizationData(PAYER_KEY, address(honest), address(byAuthorization), id, amount, from, until, salt);
    }

    function testFuzz_erc3009(uint128 amount, uint256 salt, uint256 at_) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        uint256 validAfter = block.timestamp + 10;
        bytes memory data = _authorization(idOf(channels, CHANNEL), amount, validAfter, validAfter + 20, salt);
        vm.warp(bound(at_, validAfter - 2, validAfter + 22));
        if (block.timestamp <= validAfter) vm.expectRevert(ScriptedToken.AuthorizationNotYetValid.selector);
        else if (block.timestamp >= validAfter + 20) vm.expectRevert(ScriptedToken.AuthorizationExpired.selector);
        vm.prank(thief);
        channels.deposit(configOf(CHANNEL), amount, address(byAuthorization), data);
        bool valid = block.timestamp > validAfter && block.timestamp < validAfter + 20;
        _expectBalance(valid ? amount : 0);
    }

    function test_erc3009IsSpentOnce() public {
        bytes memory data = _authorization(idOf(channels, CHANNEL), 5, 0, FOREVER, 1);
        channels.deposit(configOf(CHANNEL), 5, address(byAuthorization), data);
        vm.expectRevert(ScriptedToken.AuthorizationUsed.selector);
        channels.deposit(configOf(CHANNEL), 5, address(byAuthorization), data);
        _expectBalance(5);
    }

    function testFuzz_erc3009BindsChannelAndAmount(uint256 seed) public {
        bytes memory data = _authorization(idOf(channels, CHANNEL), 5, 0, FOREVER, seed);
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        channels.deposit(_otherTerms(seed), 5, address(byAuthorization), data);
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        channels.deposit(configOf(CHANNEL), 6, address(byAuthorization), data);
        _expectBalance(0);
    }

    /// @notice What was signed for the collector is no authorisation for the built-in path, and the other way round.
    function test_erc3009BindsThePath() public {
        bytes memory toCollector = _authorization(idOf(channels, CHANNEL), 5, 0, FOREVER, 1);
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        channels.deposit(configOf(CHANNEL), 5, address(channels), toCollector);
        bytes memory builtIn = authorizationData(
            PAYER_KEY, address(honest), address(channels), idOf(channels, CHANNEL), 5, 0, FOREVER, 1
        );
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        channels.deposit(configOf(CHANNEL), 5, address(byAuthorization), builtIn);
    }

    function test_erc3009OfAFeeToken() public {
        honest.setMode(ScriptedToken.Mode.FeeOnTransfer);
        bytes memory data = _authorization(idOf(channels, CHANNEL), 500, 0, FOREVER, 1);
        vm.expectRevert();
        channels.deposit(configOf(CHANNEL), 500, address(byAuthorization), data);
        _expectBalance(0);
    }

    // ------------------------------------------------------------------ allowance

    function _permission(uint256 key, bytes32 id, address token, uint256 amount, uint256 nonce, uint256 deadline)
        private
        view
        returns (bytes memory)
    {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256(
                    "DepositAuthorization(bytes32 channelId,address token,uint256 amount,uint256 nonce,uint256 deadline)"
                ),
                id,
                token,
                amount,
                nonce,
                deadline
            )
        );
        bytes32 domain = Digests.domain("Tallystick Allowance Collector", "1", address(byAllowance));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, structHash));
        return abi.encode(nonce, deadline, signature(key, digest));
    }

    function testFuzz_allowance(uint128 amount, uint256 nonce, uint256 deadline) public {
        amount = uint128(bound(amount, 1, type(uint128).max));
        deadline = bound(deadline, block.timestamp - 2, block.timestamp + 2);
        bytes memory data =
            _permission(PAYER_KEY, idOf(channels, CHANNEL), address(honest), amount, nonce, deadline);
        bool valid = block.timestamp <= deadline;
        if (!valid) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    AllowanceDepositCollector.AuthorizationExpired.selector, deadline, block.timestamp
                )
            );
        }
        vm.prank(thief);
        channels.deposit(configOf(CHANNEL), amount, address(byAllowance), data);
        _expectBalance(valid ? amount : 0);
    }

    function testFuzz_allowanceNoncesAreSpentOnceInAnyOrder(uint256 first, uint256 second) public {
        if (second % 3 == 0) second = first ^ 1;
        vm.assume(first != second);
        bytes32 id = idOf(channels, CHANNEL);
        uint256[3] memory nonces = [first, second, first];
        for (uint256 i = 0; i < 3; i++) {
            if (i == 2) {
                vm.expectRevert(
                    abi.encodeWithSelector(AllowanceDepositCollector.NonceAlreadyUsed.selector, payer, first)
                );
            }
            bytes memory data = _permission(PAYER_KEY, id, address(honest), 5, nonces[i], FOREVER);
            channels.deposit(configOf(CHANNEL), 5, address(byAllowance), data);
        }
        _expectBalance(10);
    }

    function testFuzz_allowanceNonceCancelled(uint256 nonce) public {
        vm.expectEmit(true, true, true, true, address(byAllowance));
        emit NonceCancelled(payer, nonce);
        vm.prank(payer);
        byAllowance.cancelNonce(nonce);
        bytes memory data = _permission(PAYER_KEY, idOf(channels, CHANNEL), address(honest), 5, nonce, FOREVER);
        vm.expectRevert(
            abi.encodeWithSelector(AllowanceDepositCollector.NonceAlreadyUsed.selector, payer, nonce)
        );
        channels.deposit(configOf(CHANNEL), 5, address(byAllowance), data);
        // Somebody else's cancelling is nobody's business but theirs.
        vm.prank(thief);
        byAllowance.cancelNonce(nonce ^ 1);
        data = _permission(PAYER_KEY, idOf(channels, CHANNEL), address(honest), 5, nonce ^ 1, FOREVER);
        channels.deposit(configOf(CHANNEL), 5, address(byAllowance), data);
    }

    /// @notice A third party cannot turn a stranger's allowance into a channel of its own making.
    function testFuzz_allowanceIsNotForThirdParties(uint256 seed) public {
        ISessionChannels.ChannelConfig memory config = _otherTerms(seed);
        bytes32 id = Digests.channelId(address(channels), config);
        bytes memory forged = _permission(THIEF_KEY, id, address(honest), 5, seed, FOREVER);
        vm.prank(thief);
        vm.expectRevert(AllowanceDepositCollector.InvalidSignature.selector);
        channels.deposit(config, 5, address(byAllowance), forged);
        bytes memory forAnother = _permission(PAYER_KEY, idOf(channels, CHANNEL), address(honest), 5, seed, FOREVER);
        vm.prank(thief);
        vm.expectRevert(AllowanceDepositCollector.InvalidSignature.selector);
        channels.deposit(config, 5, address(byAllowance), forAnother);
        vm.prank(thief);
        vm.expectRevert(AllowanceDepositCollector.InvalidSignature.selector);
        channels.deposit(configOf(CHANNEL), 6, address(byAllowance), forAnother);
        _expectBalance(0);
    }

    /// @notice A contract wallet permits by ERC-1271, and only its own deposits.
    function test_allowanceOfAWallet() public {
        uint256 channel = KIND_WALLET;
        vm.prank(address(payerWallet));
        honest.approve(address(byAllowance), FOREVER);
        bytes32 id = idOf(channels, channel);
        bytes memory stranger = _permission(PAYER_KEY, id, address(honest), 5, 0, FOREVER);
        vm.expectRevert(AllowanceDepositCollector.InvalidSignature.selector);
        channels.deposit(configOf(channel), 5, address(byAllowance), stranger);
        bytes memory own = _permission(WALLET_KEY, id, address(honest), 5, 0, FOREVER);
        channels.deposit(configOf(channel), 5, address(byAllowance), own);
        (uint128 balance,) = channels.channels(id);
        vm.assertEq(balance, 5, "balance");
    }

    function test_allowanceOfATokenThatAnswersFalse() public {
        honest.setMode(ScriptedToken.Mode.ReturnsFalse);
        bytes memory data = _permission(PAYER_KEY, idOf(channels, CHANNEL), address(honest), 5, 0, FOREVER);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, honest));
        channels.deposit(configOf(CHANNEL), 5, address(byAllowance), data);
    }
}
