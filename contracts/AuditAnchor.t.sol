// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IAuditAnchor} from "./interfaces/IAuditAnchor.sol";
import {TestBase} from "./test-support/TestBase.sol";
import {Vm} from "./test-support/Vm.sol";

/// @notice What is shown is shown as it is, under the name of who shows it, and nothing is kept.
contract AuditAnchorTest is TestBase {
    IAuditAnchor private audit;

    function setUp() public {
        audit = IAuditAnchor(deploy("AuditAnchor.sol:AuditAnchor", ""));
    }

    function testFuzz_showsTheRootUnderItsCaller(address relayer, bytes32 root, uint64 day) public {
        vm.recordLogs();
        vm.prank(relayer);
        audit.anchor(root, day);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1, "one event");
        vm.assertEq(logs[0].emitter, address(audit), "emitter");
        vm.assertEq(logs[0].topics[0], IAuditAnchor.Anchored.selector, "event");
        vm.assertEq(logs[0].topics[1], bytes32(uint256(uint160(relayer))), "relayer");
        vm.assertEq(logs[0].topics[2], bytes32(uint256(day)), "day");
        vm.assertEq(abi.decode(logs[0].data, (bytes32)), root, "root");
    }

    /// @notice No day is ever taken: neither by the same relayer nor, in its place, by another.
    function testFuzz_nobodyCanKeepAnotherFromADay(address relayer, address squatter, bytes32 root, uint64 day) public {
        vm.prank(squatter);
        audit.anchor(bytes32(0), day);
        for (uint256 time; time < 2; time++) {
            vm.prank(relayer);
            audit.anchor(root, day);
        }
        vm.assertEq(vm.load(address(audit), bytes32(0)), bytes32(0), "storage");
    }
}
